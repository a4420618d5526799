"""A vLLM server in this process, as far as TRL's client knows one, and what stands in for vLLM beside it.

The trainer's side is TRL's own code: `VLLMGeneration`, `VLLMClient`, its HTTP requests and its weight updates. Stood in
for are packages that are not installed (`vllm`; `requests` if need be), NCCL (weights go through a queue in memory),
and the claim that the trainer sits on a GPU. The server samples a transformers model and returns its log-probabilities.
"""

from __future__ import annotations

import hashlib
import json
import queue
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch
from torch import Tensor
from trl.generation import vllm_client, vllm_generation

from credit import _trl

SECONDS = 60.0


class VLLMServer:
    """Serves `model`, whose weights the trainer replaces; use as a context manager.

    Args:
        model: a causal language model of its own, not the student.
        bias: (V,) added to the logits it samples from, after temperature: a sampler that is not the student.
        logprobs_mode, dev_mode, weight_transfer: how it was started.

    Attributes:
        completions: what it answered, in order, in token ids.
        scored: token ids of the sequences it was asked to score, in order.
        digests: of its weights, after each update.
        asked: paths of all requests.
    """

    def __init__(
        self, model: Any, bias: Tensor | None = None, logprobs_mode: str = "processed_logprobs", dev_mode: bool = True,
        weight_transfer: bool = True,
    ):  # fmt: skip
        self.model, self.bias = model.eval(), bias
        self.logprobs_mode, self.dev_mode, self.weight_transfer = logprobs_mode, dev_mode, weight_transfer
        self.completions: list[list[int]] = []
        self.scored: list[list[int]] = []
        self.digests: list[str] = []
        self.asked: list[str] = []
        self.wire: queue.Queue[tuple[str, Tensor]] = queue.Queue()
        self._updating = False

    def __enter__(self) -> VLLMServer:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Return the answer to a request; None where vLLM has no such path."""
        self.asked.append(path)
        development = {
            "/server_info": self._info,
            "/get_world_size": lambda body: {"world_size": 1},
            "/init_weight_transfer_engine": self._join,
            "/start_weight_update": self._start,
            "/update_weights": self._receive,
            "/finish_weight_update": self._finish,
            "/reset_prefix_cache": lambda body: {"success": True},
        }
        always = {
            "/health": lambda body: {},
            "/v1/models": lambda body: {"data": [{"id": "tiny"}]},
            "/v1/completions": self._complete,
        }
        known = always | (development if self.dev_mode else {})
        return known[path](body) if path in known else None

    # -- weights

    def _info(self, body: dict[str, Any]) -> dict[str, Any]:
        transfer = {"backend": "nccl"} if self.weight_transfer else None
        config = {"model_config": {"logprobs_mode": self.logprobs_mode}, "weight_transfer_config": transfer}
        return {"vllm_config": config}

    def _join(self, body: dict[str, Any]) -> dict[str, Any]:
        assert body["init_info"]["world_size"] == 2
        return {}

    def _start(self, body: dict[str, Any]) -> dict[str, Any]:
        assert not self._updating
        self._updating = True
        return {}

    @torch.no_grad()
    def _receive(self, body: dict[str, Any]) -> dict[str, Any]:
        assert self._updating
        info, own = body["update_info"], dict(self.model.named_parameters())
        assert set(info["names"]) == set(own)
        for name, dtype, shape in zip(info["names"], info["dtype_names"], info["shapes"], strict=True):
            sent, tensor = self.wire.get(timeout=SECONDS)
            assert (sent, str(tensor.dtype), list(tensor.shape)) == (name, f"torch.{dtype}", shape)
            own[name].copy_(tensor)
        return {}

    def _finish(self, body: dict[str, Any]) -> dict[str, Any]:
        assert self._updating
        self._updating = False
        self.digests.append(digest(dict(self.model.named_parameters())))
        return {}

    # -- completions

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("prompt_logprobs") is not None:
            return {"choices": [self._score(ids, body["prompt_logprobs"]) for ids in body["prompt"]]}
        assert body["return_token_ids"]
        assert body["return_tokens_as_token_ids"]
        assert (body["top_p"], body["repetition_penalty"], body["min_p"]) == (1.0, 1.0, 0.0)
        return {"choices": [choice for ids in body["prompt"] for choice in self.sample(ids, body)]}

    def sample(self, prompt: list[int], body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return n answers to a prompt, and their log-probabilities."""
        found = self.model.generate(
            input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=True, temperature=body["temperature"], top_k=body["top_k"], num_return_sequences=body["n"],
            max_new_tokens=body["max_tokens"], output_scores=True, return_dict_in_generate=True,
            logits_processor=[] if self.bias is None else [lambda ids, scores: scores + self.bias],
        )  # fmt: skip
        logp_nTV = torch.stack(found.scores, dim=1).float().log_softmax(-1)
        choices, end = [], self.model.generation_config.eos_token_id
        ends = end if isinstance(end, list) else [end]
        for ids_T, logp_TV in zip(found.sequences[:, len(prompt) :], logp_nTV, strict=True):
            ids = ids_T.tolist()
            length = next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))
            ids, logps = ids[:length], logp_TV.gather(-1, ids_T[:, None])[:length, 0].tolist()
            self.completions.append(ids)
            told = {"tokens": [f"token_id:{i}" for i in ids], "token_logprobs": logps, "top_logprobs": [None] * length}
            choices.append({"prompt_token_ids": prompt, "token_ids": ids, "logprobs": told})
        return choices

    @torch.no_grad()
    def _score(self, ids: list[int], most: int) -> dict[str, Any]:
        """Describe a sequence as vLLM does: at temperature 1 whatever was asked (vllm-project/vllm#37082)."""
        self.scored.append(ids)
        logp_TV = self.model(input_ids=torch.tensor([ids])).logits[0, :-1].float().log_softmax(-1)
        said: list[dict[str, Any] | None] = [None]
        for token, logp_V in zip(ids[1:], logp_TV, strict=True):
            order = logp_V.argsort(descending=True).tolist()
            shown = {*order[:most], token}
            said.append({str(i): {"logprob": logp_V[i].item(), "rank": order.index(i) + 1} for i in shown})
        return {"prompt_logprobs": said}


def digest(weights: dict[str, Tensor]) -> str:
    """Checksum of named weights."""
    return hashlib.sha256(
        b"".join(name.encode() + weights[name].detach().cpu().numpy().tobytes() for name in sorted(weights))
    ).hexdigest()


def use_server(server: VLLMServer, put: Callable[..., Any] = setattr) -> None:
    """Stand in for vLLM, NCCL and the GPU, so that TRL's client talks to `server`.

    Args:
        server: the receiving end of the weights.
        put: sets an attribute; `monkeypatch.setattr` with `raising=False` in tests.
    """

    def send(iterator: Any, group: Any, src: int, post_iter_func: Callable[[Any], Tensor]) -> None:
        for item in iterator:
            server.wire.put((item[0], post_iter_func(item).detach().clone()))

    group = SimpleNamespace(group=SimpleNamespace(store=None, socket=None))
    join = vllm_client.VLLMClient.init_communicator
    for module in (vllm_client, vllm_generation, _trl):
        put(module, "is_vllm_available", lambda min_version=None: True)
    put(vllm_client, "_HAS_STATEFUL_TRAINER_ENGINE", True)  # as from vLLM 0.28
    put(vllm_client, "_HAS_RESET_PREFIX_CACHE_SUCCESS", True)
    put(vllm_client, "get_ip", lambda: "127.0.0.1")
    put(vllm_client, "open_trainer_endpoint", lambda info: group)
    put(vllm_client, "packed_nccl_broadcast_producer", send)
    put(vllm_client.VLLMClient, "init_communicator", lambda self, device: join(self, "cuda"))
    if not vllm_client.is_requests_available():
        put(vllm_client, "is_requests_available", lambda: True)
        put(vllm_client, "requests", _Requests)
        put(vllm_client, "HTTPAdapter", lambda **options: None)
        put(vllm_client, "Retry", lambda **options: None)


def use_engine(server: VLLMServer, put: Callable[..., Any] = setattr) -> None:
    """Stand in for a vLLM engine in the trainer's process (`vllm_mode="colocate"`), with the model of `server`."""
    put(vllm_generation, "is_vllm_available", lambda min_version=None: True)
    put(_trl, "is_vllm_available", lambda min_version=None: True)
    put(vllm_generation, "SamplingParams", lambda **options: options)
    put(vllm_generation, "LLM", lambda **how: _Engine(server, how))


class _Engine:
    """What TRL calls of `vllm.LLM`."""

    def __init__(self, server: VLLMServer, how: dict[str, Any]):
        assert how["logprobs_mode"] == "processed_logprobs"
        self.server = server
        model = SimpleNamespace(load_weights=self._load)
        runner = SimpleNamespace(model_runner=SimpleNamespace(model=model))
        self.llm_engine = SimpleNamespace(model_executor=SimpleNamespace(driver_worker=runner))

    @torch.no_grad()
    def _load(self, weights: list[tuple[str, Tensor]]) -> None:
        own = dict(self.server.model.named_parameters())
        for name, tensor in weights:
            own[name].copy_(tensor)

    def reset_prefix_cache(self) -> None:
        self.server.digests.append(digest(dict(self.server.model.named_parameters())))

    def generate(self, prompts: list[Any], sampling_params: dict[str, Any], use_tqdm: bool) -> list[SimpleNamespace]:
        return [self._one(prompt["prompt_token_ids"], sampling_params) for prompt in prompts]

    def _one(self, prompt: list[int], options: dict[str, Any]) -> SimpleNamespace:
        (found,) = self.server.sample(prompt, options)
        ids, logps = found["token_ids"], found["logprobs"]["token_logprobs"]
        told = [{i: SimpleNamespace(logprob=logp, rank=1)} for i, logp in zip(ids, logps, strict=True)]
        return SimpleNamespace(prompt_token_ids=prompt, outputs=[SimpleNamespace(token_ids=ids, logprobs=told)])


class _Requests:
    """What TRL's client takes from the package `requests`, by the standard library, without its retries."""

    exceptions = SimpleNamespace(RequestException=OSError)

    class Session:
        def mount(self, prefix: str, adapter: Any) -> None:
            pass

        def get(self, url: str, **options: Any) -> SimpleNamespace:
            return _Requests.get(url)

        def post(self, url: str, json: Any = None) -> SimpleNamespace:
            return _Requests.send(Request(url, _json(json), {"Content-Type": "application/json"}))

    @staticmethod
    def get(url: str) -> SimpleNamespace:
        return _Requests.send(Request(url))

    @staticmethod
    def send(request: Request) -> SimpleNamespace:
        try:
            with urlopen(request, timeout=SECONDS) as answer:
                status, text = answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                status, text = error.code, error.read().decode()
        return SimpleNamespace(status_code=status, text=text, headers={}, json=lambda: json.loads(text))


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _handler(server: VLLMServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer(json.loads(text or b"null") or {})

        def _answer(self, body: dict[str, Any]) -> None:
            try:
                said = server.answer(urlsplit(self.path).path, body)
                status, text = (404, b"not found") if said is None else (200, _json(said))
            except Exception as error:
                status, text = 400, repr(error).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


__all__ = ["VLLMServer", "digest", "use_engine", "use_server"]
