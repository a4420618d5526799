"""How `CreditTrainer` shares a model: its card in place of TRL's, and a push that sends the model and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate.utils import is_peft_model

from credit.versions import versions


class SharesModel:
    """Overrides what TRL and transformers call for cards and pushes.

    Attributes:
        writes_card: False where somebody else writes the card, as `credit train` does beside the final model.
    """

    writes_card = True

    def create_model_card(
        self: Any, model_name: str | None = None, dataset_name: str | None = None, tags: Any = None, **unused: Any
    ) -> None:
        """Write README.md into the output folder, from the options alone: here nothing was measured.

        Args:
            model_name: title of the card; the name of the folder if not given.
            dataset_name: hub id of the training set.
            tags: more tags.
            unused: what transformers' own card takes.
        """
        if not self.writes_card or not self.is_world_process_zero():
            return
        from credit.sharing.card import model_card

        base = getattr(self.model.config, "_name_or_path", None) or None
        local = ["model"] if base and Path(base).exists() else []
        run = {
            "model": base, "dataset": dataset_name, "local": local, "seed": self.args.seed, "versions": versions(),
            "steps": self.state.global_step,
        }  # fmt: skip
        folder = Path(self.args.output_dir)
        library = "peft" if is_peft_model(self.accelerator.unwrap_model(self.model)) else "transformers"
        more = [tags] if isinstance(tags, str) else tags or ()
        card = model_card(self.args.to_dict(), run, {}, model_name or folder.resolve().name, library, more)
        card.save(folder / "README.md")

    def push_to_hub(
        self: Any,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **card: Any,
    ) -> Any:
        """Save the model into the output folder and send it with its card; return what was committed.

        transformers would send the whole folder: completions, token credit, and the pickled arguments with their paths.

        Args:
            commit_message: of the commit.
            blocking: must be True.
            token: with write permission; `hub_token`, or that of the login, if not given.
            revision: branch; `hub_revision` if not given.
            private: whether a new repository is private; `hub_private_repo` if not given.
            card: arguments of `create_model_card`.
        """
        from credit.sharing.push import model_files, send

        args = self.args
        if not blocking:
            raise ValueError("blocking=False is not supported: the upload would outlive the files. Use True.")
        if not self.hub_model_id:
            self.init_hf_repo(token=token, private=private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        self.create_model_card(**{"model_name": self.hub_model_id.rpartition("/")[2], **card})
        private = args.hub_private_repo if private is None else private
        return send(
            model_files(Path(args.output_dir)), self.hub_model_id, private, token or args.hub_token,
            revision or args.hub_revision, commit_message or "End of training",
        )  # fmt: skip
