"""How `CreditTrainer` reads its rollouts: as trees wherever the model can, whoever asks for log-probabilities."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.logging import get_logger
from torch import Tensor

from credit.kernel import token_logps
from credit.passes import read_rollouts
from credit.scoring import check_head, check_steady, head_of, with_response_head
from credit.shards import gathered_with, partitioned
from credit.startup import is_zero3, refuse_unsupported
from credit.trainer_callbacks import TriesModel
from credit.tree_attention import why_not, with_tree_attention

logger = get_logger(__name__)


class ReadsTrees:
    """Prepares the model, and overrides what TRL calls for log-probabilities of the student."""

    _as_trees = False
    _student: Any

    def _prepare_model(self: Any) -> None:
        """Teach the model to read hidden states and trees, and find out whether it can; credit needs the former."""
        needed, student = self.method.needs_teacher, self._student
        if not (needed or self.args.share_prefixes):
            return
        try:
            refuse_unsupported(self, student)
        except ValueError as error:
            if needed:
                raise
            self._say_why(str(error))
            return
        with_response_head(student)
        with_tree_attention(student)
        head = student.get_output_embeddings()
        if is_zero3(self):
            gathered_with(self.accelerator.unwrap_model(self.model), head.weight, getattr(head, "bias", None))
        if partitioned(head.weight):
            self.add_callback(TriesModel(self._try_model))
        else:
            self._try_model()

    def _try_model(self: Any) -> None:
        try:
            check_head(self._student, len(self._text))
            check_steady(self._student, len(self._text))
        except ValueError as error:
            if self.method.needs_teacher:
                raise
            self._say_why(str(error))
            return
        model = self.accelerator.unwrap_model(self.model)  # with its adapter, which may not hear of trees
        why = why_not(model, len(self._text)) if self.args.share_prefixes else None
        self._as_trees = self.args.share_prefixes and why is None
        if why is not None:
            self._say_why(why)

    def _say_why(self, reason: str) -> None:
        logger.warning(f"Rows are padded, and common beginnings read again and again: {reason}")

    def _get_per_token_logps_and_entropies(
        self: Any, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False,
        compute_aux_loss=False, **images,
    ):  # fmt: skip
        if not self._as_trees or compute_aux_loss or model is self.ref_model:
            trl: Any = super()
            return trl._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, compute_aux_loss,
                **images,
            )  # fmt: skip
        size, columns = batch_size or len(input_ids), []
        for ids_BL, mask_BL in zip(input_ids.split(size), attention_mask.split(size), strict=True):
            where, labels = mask_BL[:, -logits_to_keep:].bool(), ids_BL[:, -logits_to_keep:]

            def read(at, where=where, labels=labels) -> dict[str, Tensor]:
                head = head_of(self._student, self.temperature, self.args.cast_lm_head_to_fp32)
                scores = token_logps(at(where), labels[where], head, self.args.chunk_tokens)
                return {name: s.new_zeros(where.shape).masked_scatter(where, s) for name, s in scores.items()}

            with self.accelerator.autocast():
                columns.append(read_rollouts(model, ids_BL, mask_BL, logits_to_keep, True, read))
        logp, entropy = (torch.cat([c[name] for c in columns]) for name in ("logp", "entropy"))
        self.parts["log-probabilities"] = logp.detach()
        return logp, entropy if compute_entropy else None, None
