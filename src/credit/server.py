"""vLLM beside the trainer: what is refused before it starts, its errors in words, log-probabilities by a server.

Generation and weight updates are TRL's own (`use_vllm`). A vLLM server holds the student's weights, as they are when a
generation batch is drawn, and says how likely it finds a token after a text. That is all that credit of sampled tokens
needs of a live teacher: one number for each view and token, instead of hidden states.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor

from credit import _trl
from credit.scoring import LOGITS, Head

INSTALL = "pip install 'trl[vllm]'"
"""Beside the TRL that is installed; TRL names the versions of vLLM it knows."""


def server_url(args: Any) -> str:
    """Return where TRL looks for the server."""
    return args.vllm_server_base_url or f"http://{args.vllm_server_host}:{args.vllm_server_port}"


def start_command(args: Any, model: Any) -> str:
    """Return the command that starts a server as TRL needs it: weight updates, and log-probabilities as sampled."""
    name = model if isinstance(model, str) else getattr(model, "name_or_path", "") or "MODEL"
    return (
        f"VLLM_SERVER_DEV_MODE=1 vllm serve {name} --port {urlsplit(server_url(args)).port or 80} "
        """--weight-transfer-config '{"backend": "nccl"}' --logprobs-mode processed_logprobs --max-logprobs -1"""
    )


def refuse_vllm(args: Any) -> None:
    """Raise ValueError when vLLM is asked for and not installed; asks no server."""
    if args.use_vllm and not _trl.is_vllm_available():
        raise ValueError(f"use_vllm needs the package vllm, which is not installed. Run: {INSTALL}, or drop use_vllm.")


def refuse_unknown_to_a_server(args: Any) -> None:
    """Raise ValueError for what needs more than the log-probabilities that a vLLM server gives of sampled tokens."""
    rules = [
        (not args.uses_teacher, f"method={args.method!r} has no teacher to score"),
        (
            not (args.use_vllm and args.vllm_mode == "server"),
            "there is no server. Set use_vllm=True and vllm_mode='server'",
        ),
        (
            args.level != "token",
            "a server gives log-probabilities of sampled tokens, and level='vocabulary' compares whole distributions. "
            "Set level='token'",
        ),
        (
            args.teacher != "live",
            f"the server holds the student's weights, and teacher={args.teacher!r} has others. Set teacher='live'",
        ),
        (
            args.rule.advantage is not None or ":" in args.method,
            f"the rule of method={args.method!r} may look at whole distributions. Use credit or sdpo",
        ),
        (
            args.baseline == "expected",
            "baseline='expected' is a mean over the vocabulary. Set baseline='batch_mean' or 'none'",
        ),
        (
            args.temperature != 1,
            f"vLLM scores a given text at temperature 1, and rollouts are drawn at {args.temperature:g}. Set "
            "temperature=1",
        ),
        (
            bool(args.credit_log_steps and args.credit_log_alternatives),
            "the alternatives in credit files are read from whole distributions. Set credit_log_alternatives=0",
        ),
    ]
    for broken, reason in rules:
        if broken:
            raise ValueError(f"teacher_scored_by='server': {reason}, or teacher_scored_by='trainer'.")


def rollouts_by(args: Any, model: Any) -> str | None:
    """Say where rollouts come from; None where it is the trainer itself."""
    if not args.use_vllm:
        return None
    if args.vllm_mode == "colocate":
        share = f"{args.vllm_gpu_memory_utilization:.0%} of each device's memory (vllm_gpu_memory_utilization)"
        return f"vLLM beside the trainer, with {share}"
    return f"the vLLM server at {server_url(args)}, which was not asked; to start it: {start_command(args, model)}"


@contextmanager
def vllm_explained(args: Any, model: Any) -> Iterator[None]:
    """Say what to do about what TRL raises when it finds no vLLM server, or not one it can use."""
    refuse_vllm(args)
    try:
        yield
    except OSError as error:
        if not (args.use_vllm and "vLLM server" in str(error)):
            raise
        raise ValueError(
            f"no vLLM server answers at {server_url(args)}. Start it first, on GPUs of its own: "
            f"{start_command(args, model)}. Its address is vllm_server_base_url (or vllm_server_host and "
            f"vllm_server_port); it was waited for {args.vllm_server_timeout:g} s (vllm_server_timeout)."
        ) from error
    except RuntimeError as error:
        if not (args.use_vllm and "vLLM" in str(error)):
            raise
        raise ValueError(f"{error} The whole command: {start_command(args, model)}") from error


class Told(Head):
    """The head of a vocabulary of one: where a server scores, "hidden states" are log-probabilities of the tokens."""

    def logps(self, hidden_ND: Tensor) -> Tensor:
        """Return what was told, (N, 1)."""
        return hidden_ND

    def chunk(self, tokens: int) -> int:
        """Return how many tokens to treat at once: nothing is projected."""
        return LOGITS


TOLD = Told(torch.empty(0, 0))


class Scorer:
    """Log-probabilities of sampled tokens by the vLLM server that the rollouts came from.

    Every process asks for its own rows, over a connection of its own; only the main one sends weights.

    Args:
        trainer: with `use_vllm` and `vllm_mode="server"`.
    """

    def __init__(self, trainer: Any):
        known = getattr(trainer.vllm_generation, "vllm_client", None)
        args = trainer.args
        self.client = known or _trl.VLLMClient(server_url(args), connection_timeout=args.vllm_server_timeout)

    def logps(
        self, views: Sequence[list[list[int]]], response_ids_BT: Tensor, response_mask_BT: Tensor, wanted_WB: Tensor
    ) -> Tensor:
        """Return the log-probability of each response token under each view, (W, B, T, 1), at temperature 1.

        Args:
            views: W lists of B prompts in token ids; responses are appended as they are.
            response_ids_BT: token ids.
            response_mask_BT: 1 for the tokens of a response, which come first.
            wanted_WB: which rows of which view to ask for; the others are zero, as is what follows a response.
        """
        lengths = response_mask_BT.sum(dim=1).tolist()
        answers = [ids[:length] for ids, length in zip(response_ids_BT.tolist(), lengths, strict=True)]
        places: dict[tuple[tuple[int, ...], int], list[tuple[int, int]]] = {}  # equal rows are asked for once
        for w, view in enumerate(views):
            for b, prompt in enumerate(view):
                if wanted_WB[w, b] and answers[b]:
                    places.setdefault(((*prompt, *answers[b]), len(prompt)), []).append((w, b))
        out = torch.zeros(len(views), *response_ids_BT.shape, 1, device=response_ids_BT.device)
        if not places:
            return out
        told = self.client.get_sequence_logprobs(
            [list(ids) for ids, _ in places], [length for _, length in places], top_logprobs=1
        )["actual_logprobs"]
        for logps_T1, where in zip(told, places.values(), strict=True):
            if not all(math.isfinite(logp) for (logp,) in logps_T1):
                raise RuntimeError("the vLLM server gave no log-probability for a token that it had sampled.")
            for w, b in where:
                out[w, b, : len(logps_T1)] = torch.tensor(logps_T1)
        return out
