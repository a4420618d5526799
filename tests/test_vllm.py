"""Rollouts by a vLLM server (`vllm_server.py`): whose they are, whose weights, what is corrected, who scores."""

import copy
import json

import pytest
import torch
from peft import LoraConfig
from trl.generation.vllm_client import VLLMClient

from credit import CreditConfig, CreditTrainer
from credit.cli import main
from credit.server import vllm_explained
from local_models import fit, history, make_config, make_dataset, make_model, make_tokenizer, make_trainer, reward
from vllm_server import VLLMServer, digest, use_engine, use_server

LEVELS = {
    "vocabulary": {"support_size": 8},
    "token": {"level": "token"},
    "both": {"blend": "loss"},
    "grpo": {"method": "grpo"},
}
SCORED = {
    "level": "token", "teacher": "live", "teacher_scored_by": "server", "baseline": "batch_mean",
    "credit_log_alternatives": 0,
}  # fmt: skip


@pytest.fixture
def serve(monkeypatch):
    """Start a server with weights of its own, which rollouts come from only until the first update."""
    servers = []

    def start(model=None, **how) -> VLLMServer:
        server = VLLMServer(model or make_model("qwen3", initializer_range=0.1), **how)
        use_server(server, lambda *where: monkeypatch.setattr(*where, raising=False))
        servers.append(server.__enter__())
        return server

    yield start
    for server in servers:
        server.__exit__()


def by_server(server: VLLMServer, **options) -> dict:
    return {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": server.url, **options}


def batch_of(trainer):
    """One generation batch, scored, as `_compute_loss` gets it."""
    torch.manual_seed(1)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    rows = [trainer.train_dataset[i // trainer.num_generations] for i in range(trainer.args.generation_batch_size)]
    score = trainer._generate_and_score_completions

    def scoring(rows):
        output = score(rows)
        torch.manual_seed(2)  # TRL shuffles now, in an order that whoever generated must not decide
        return output

    trainer._generate_and_score_completions = scoring
    return trainer._prepare_inputs(rows)


def replay(trainer, completions: list[list[int]]) -> None:
    """Have a trainer without vLLM go through stored completions."""
    left = iter(completions)
    trainer._generate_single_turn = lambda prompt_ids, *unused, **more: ([next(left) for _ in prompt_ids], None)


def trained(log: dict) -> dict:
    return {k: v for k, v in log.items() if not k.startswith("sampling/") and v is not None}


# -- rollouts and weights


@pytest.mark.parametrize("options", LEVELS.values(), ids=LEVELS)
def test_a_run_is_that_of_the_same_completions_without_vllm(tmp_path, serve, options):
    server = serve()
    served = make_trainer(tmp_path / "served", **by_server(server, max_steps=3, **options))
    fit(served)
    own = make_trainer(tmp_path / "own", max_steps=3, **options)
    replay(own, server.completions)
    fit(own)
    assert len(server.completions) == 3 * 16
    for one, two in zip(history(served), history(own), strict=True):
        for end in ("min", "mean", "max"):
            assert one[f"sampling/importance_sampling_ratio/{end}"] == pytest.approx(1, abs=1e-5)
        assert trained(one) == pytest.approx(trained(two), rel=1e-4, abs=1e-4, nan_ok=True)
    assert history(served)[0]["grad_norm"] > 0.1


def test_the_server_has_the_students_weights_at_every_batch(tmp_path, serve):
    server = serve()
    trainer = make_trainer(tmp_path, **by_server(server, max_steps=3, num_iterations=1))
    students, generate = [], trainer.vllm_generation.generate

    def generating(*args, **options):
        students.append(digest(dict(trainer._student.named_parameters())))
        return generate(*args, **options)

    trainer.vllm_generation.generate = generating
    fit(trainer)
    assert server.digests == students
    assert len(set(students)) == 3
    assert server.asked.count("/reset_prefix_cache") == 3


def test_the_server_has_an_adapter_merged(tmp_path, serve):
    server = serve()
    lora = LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False, lora_dropout=0.0)
    trainer = CreditTrainer(
        make_model("qwen3"), reward, make_config(tmp_path, **by_server(server, ema_rate=0.3)),
        train_dataset=make_dataset(), processing_class=make_tokenizer(), peft_config=lora,
    )  # fmt: skip
    merged, generate = [], trainer.vllm_generation.generate

    def generating(*args, **options):
        model = copy.deepcopy(trainer.model).merge_and_unload()
        merged.append(digest(dict(model.named_parameters())))
        return generate(*args, **options)

    trainer.vllm_generation.generate = generating
    fit(trainer)
    assert server.digests == merged
    assert len(set(merged)) == 2
    assert history(trainer)[1]["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=1e-4)


def test_a_colocated_run_is_that_of_the_same_completions_without_vllm(tmp_path, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):  # TRL sets them
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    engine = VLLMServer(make_model("qwen3", initializer_range=0.1))
    use_engine(engine, lambda *where: monkeypatch.setattr(*where, raising=False))
    colocated = make_trainer(tmp_path / "colocated", use_vllm=True, vllm_mode="colocate", ema_rate=0.3)
    fit(colocated)
    own = make_trainer(tmp_path / "own", ema_rate=0.3)
    replay(own, engine.completions)
    fit(own)
    for one, two in zip(history(colocated), history(own), strict=True):
        assert one["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=1e-5)
        assert trained(one) == pytest.approx(trained(two), rel=1e-4, abs=1e-4, nan_ok=True)
    assert len(set(engine.digests)) == 2
    assert engine.asked == []


# -- what is said when something is missing


def test_a_missing_package_is_named_before_anything_is_loaded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("credit.experiment.load_model", lambda *args: pytest.fail("weights were loaded"))
    with pytest.raises(ValueError, match=r"vllm, which is not installed. Run: pip install 'trl\[vllm\]'"):
        make_trainer(tmp_path, use_vllm=True)
    for mode in ("server", "colocate"):
        for last in ([], ["--dry-run"]):
            flags = ["--output_dir", str(tmp_path / "run"), "--use_vllm", "true", "--vllm_mode", mode]
            assert main(["train", "--config", "quickstart", *flags, *last]) != 0
            assert "Run: pip install 'trl[vllm]'" in " ".join(capsys.readouterr().err.split())


def test_a_server_that_is_not_there_is_named_soon_with_the_command_that_starts_it(tmp_path, serve):
    server = serve()
    server.__exit__()
    assert make_config(tmp_path).vllm_server_timeout == 10
    with pytest.raises(ValueError, match="no vLLM server answers") as said:
        make_trainer(tmp_path, **by_server(server, vllm_server_timeout=0))
    port = server.url.rpartition(":")[2]
    for part in (server.url, f"vllm serve MODEL --port {port} --weight", "processed_logprobs", "vllm_server_timeout"):
        assert part in str(said.value)


@pytest.mark.parametrize(
    ("how", "reason"),
    [({"dev_mode": False}, "VLLM_SERVER_DEV_MODE=1"), ({"weight_transfer": False}, "no weight-transfer engine")],
)
def test_a_server_started_otherwise_is_explained(tmp_path, serve, how, reason):
    with pytest.raises(ValueError, match=f"(?s){reason}.*The whole command: VLLM_SERVER_DEV_MODE=1 vllm serve"):
        make_trainer(tmp_path, **by_server(serve(**how)))


def test_a_trainer_without_a_gpu_is_explained(tmp_path, serve, monkeypatch):
    join = VLLMClient.init_communicator
    server = serve()
    monkeypatch.setattr(VLLMClient, "init_communicator", join)
    with pytest.raises(ValueError, match="needs a CUDA device"):
        make_trainer(tmp_path, **by_server(server))


def test_errors_of_other_places_pass_through(tmp_path, serve):
    args = make_config(tmp_path, **by_server(serve()))
    for error in (RuntimeError("shapes differ"), OSError("no such file")):
        with pytest.raises(type(error), match=str(error)), vllm_explained(args, "m"):
            raise error


def test_plan_and_dry_run_say_where_rollouts_come_from(tmp_path, serve, capsys):
    server = serve()
    flags = ["--config", "quickstart", "--use_vllm", "true", "--vllm_mode"]
    run = ["train", "--output_dir", str(tmp_path / "run"), "--dry-run", "--vllm_server_base_url", server.url]
    assert main([*run, *flags, "server"]) == 0
    assert f"rollouts come from the vLLM server at {server.url}, which was not asked" in capsys.readouterr().out
    assert server.asked == []
    assert main([*run, *flags, "colocate"]) == 0
    assert "rollouts come from vLLM beside the trainer, with 30% of each device's memory" in capsys.readouterr().out
    assert main(["plan", *flags, "server"]) == 0
    assert "what they take is not estimated" in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_trains_the_embedded_model_on_rollouts_of_a_server(tmp_path, serve, capsys):
    from credit.sources import load_model

    server = serve(model=load_model("tiny")[0])
    out = tmp_path / "run"
    more = ["--max_steps", "2", "--eval_limit", "2", "--eval_samples", "1", "--level", "token", "--blend", "none"]
    scored = [
        "--teacher",
        "live",
        "--teacher_scored_by",
        "server",
        "--baseline",
        "none",
        "--credit_log_alternatives",
        "0",
    ]
    used = ["--use_vllm", "true", "--vllm_mode", "server", "--vllm_server_base_url", server.url]
    assert main(["train", "--config", "quickstart", "--output_dir", str(out), *more, *scored, *used]) == 0
    logs = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [log for log in logs if "sampling/importance_sampling_ratio/mean" in log]
    assert len(steps) == 2
    assert all(log["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=1e-4) for log in steps)
    assert len(server.digests) == 2
    assert server.scored
    assert (out / "report.html").exists()


# -- a sampler that is not the student


def biased(serve, **how):
    return serve(bias=torch.linspace(-1, 1, make_model("qwen3").config.vocab_size), **how)


MODES = {
    "token_truncate": lambda ratio, cap: ratio.clamp(max=cap),
    "token_mask": lambda ratio, cap: ratio * (ratio <= cap),
    "sequence_truncate": lambda ratio, cap: ratio.prod(1, keepdim=True).clamp(max=cap),
    "sequence_mask": lambda ratio, cap: ratio.prod(1, keepdim=True) * (ratio.prod(1, keepdim=True) <= cap),
}


@pytest.mark.parametrize("mode", MODES)
def test_both_levels_are_weighed_by_the_ratio_of_student_and_sampler(tmp_path, serve, mode):
    cap = 1.5
    server = biased(serve)
    options = by_server(server, vllm_importance_sampling_mode=mode, vllm_importance_sampling_clip_max=cap)
    trainer = make_trainer(tmp_path, **options, support_size=0)
    inputs = batch_of(trainer)
    mask = inputs["completion_mask"].bool()
    ratio = torch.where(mask, inputs["old_per_token_logps"] - inputs["sampling_per_token_logps"], 0.0).exp()
    assert ratio.max() > 1.7
    weight_BT = MODES[mode](ratio, cap).expand_as(ratio)
    found = trainer._compute_loss(trainer.model, inputs)
    each_BT = divergences(trainer, inputs)
    where = mask & inputs["has_teacher"].unsqueeze(1)
    assert found.item() == pytest.approx((weight_BT * each_BT)[where].mean().item(), rel=1e-5)
    assert found.item() != pytest.approx(each_BT[where].mean().item(), rel=1e-3)

    # Token level: the advantages go through TRL's loss. The student has not moved: p / p_old is 1.
    token = make_trainer(tmp_path, **options, level="token", loss_type="dapo")
    inputs = batch_of(token)
    mask = inputs["completion_mask"].bool()
    ratio = torch.where(mask, inputs["old_per_token_logps"] - inputs["sampling_per_token_logps"], 0.0).exp()
    by_hand = -(MODES[mode](ratio, cap) * inputs["advantages"])[mask].sum() / mask.sum()
    assert token._compute_loss(token.model, inputs).item() == pytest.approx(by_hand.item(), rel=1e-5)


def divergences(trainer, inputs):
    """KL(p || q) of every token, (B, T), from full logits."""
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    where, length = torch.ones_like(inputs["completion_mask"]).bool(), inputs["completion_ids"].shape[1]
    with torch.no_grad():
        logp_BTV = trainer.model(input_ids=ids, attention_mask=mask).logits[:, -length - 1 : -1].log_softmax(-1)
        views = trainer._views(inputs, where)
        logp_teacher = trainer._teacher_head.logps(views.teacher_ND)
        generic = trainer._teacher_head.logps(views.contrast_NCD[:, 0])
        target = (logp_teacher - trainer.args.lam * generic).log_softmax(-1).view_as(logp_BTV)
        return (logp_BTV.exp() * (logp_BTV - target)).sum(-1)


def test_without_the_correction_nothing_is_weighed(tmp_path, serve):
    server = biased(serve)
    trainer = make_trainer(tmp_path, **by_server(server, vllm_importance_sampling_correction=False), support_size=0)
    inputs = batch_of(trainer)
    where = inputs["completion_mask"].bool() & inputs["has_teacher"].unsqueeze(1)
    each_BT = divergences(trainer, inputs)
    assert trainer._compute_loss(trainer.model, inputs).item() == pytest.approx(each_BT[where].mean().item(), rel=1e-5)


def test_the_cap_and_the_correction_are_two_factors_of_one_ratio(tmp_path, serve):
    server = biased(serve)
    options = by_server(
        server, vllm_importance_sampling_mode="token_truncate", vllm_importance_sampling_clip_max=1e9,
        importance_cap=1e9, num_iterations=2, support_size=0,
    )  # fmt: skip
    trainer = make_trainer(tmp_path, **options)
    inputs = batch_of(trainer)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    length = inputs["completion_ids"].shape[1]
    with torch.no_grad():
        logits = trainer.model(input_ids=ids, attention_mask=mask).logits[:, -length - 1 : -1]
        logp_BT = logits.log_softmax(-1).gather(-1, inputs["completion_ids"][..., None]).squeeze(-1)
    where = inputs["completion_mask"].bool() & inputs["has_teacher"].unsqueeze(1)
    weight_BT = (logp_BT - inputs["sampling_per_token_logps"]).exp()  # p / p_sampler, once
    expected = (weight_BT * divergences(trainer, inputs))[where].mean().item()
    assert trainer._compute_loss(trainer.model, inputs).item() == pytest.approx(expected, rel=1e-4)


def test_the_ratio_of_a_whole_response_moves_states_to_the_student_and_that_of_a_token_does_not():
    """Two tokens, exact sums: what docs/engines.md says of the modes."""
    draw = torch.Generator().manual_seed(0)
    p1, m1 = (torch.rand(3, generator=draw).softmax(-1) for _ in range(2))
    p2, m2 = (torch.randn(3, 3, generator=draw).softmax(-1) for _ in range(2))
    cost = torch.rand(3, generator=draw)  # of the state after the first token
    wanted = (p1 * cost).sum()
    sampled = m1[:, None] * m2
    whole = (p1 / m1)[:, None] * (p2 / m2)
    torch.testing.assert_close((sampled * whole * cost[:, None]).sum(), wanted)
    token = (sampled * (p2 / m2) * cost[:, None]).sum()
    torch.testing.assert_close(token, (m1 * cost).sum())  # the sampler's states still
    assert (token - wanted).abs() > 1e-3


# -- scored by the server


@pytest.mark.parametrize(
    "more",
    [{}, {"num_negatives": 2, "form": "guided"}, {"form": "feedback_contrast", "feedback_when": "always"},
     {"method": "sdpo"}, {"token_credit": "to_go", "baseline": "none"}, {"blend": "advantage", "blend_weight": 0.5}],
    ids=lambda o: " ".join(o),
)  # fmt: skip
def test_credit_is_the_same_whoever_scores(tmp_path, serve, more):
    server = serve()
    served = make_trainer(tmp_path / "served", **by_server(server, **{**SCORED, **more}))
    one = batch_of(served)
    own = make_trainer(tmp_path / "own", **{**SCORED, **more, "teacher_scored_by": "trainer"})
    replay(own, server.completions)
    two = batch_of(own)
    assert torch.equal(one["completion_ids"], two["completion_ids"])
    torch.testing.assert_close(one["advantages"], two["advantages"], atol=1e-5, rtol=1e-5)
    assert one["advantages"].abs().max() > 0.1
    for name in ("credit/R", "credit/r", "credit/G", "credit/S"):
        assert served._metrics["train"][name] == pytest.approx(own._metrics["train"][name], abs=1e-5, nan_ok=True)


def test_a_whole_run_scored_by_the_server_is_the_run_scored_by_the_trainer(tmp_path, serve):
    server = serve()
    options = {**SCORED, "max_steps": 3, "credit_log_steps": 1}
    served = make_trainer(tmp_path / "served", **by_server(server, **options))
    fit(served)
    own = make_trainer(tmp_path / "own", **{**options, "teacher_scored_by": "trainer"})
    replay(own, server.completions)
    fit(own)
    for one, two in zip(history(served), history(own), strict=True):
        assert trained(one) == pytest.approx(trained(two), rel=1e-3, abs=1e-4, nan_ok=True)


def test_equal_rows_are_asked_once_and_idle_ones_never(tmp_path, serve):
    server = serve()
    trainer = make_trainer(tmp_path, **by_server(server, **SCORED))
    ids = torch.tensor([[5, 6, 1], [5, 6, 1], [7, 1, 0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0]])
    wanted = torch.tensor([[True, True, True], [True, True, False]])
    views = [[[8, 9], [8, 9], [8]], [[10], [8, 9], [8]]]
    found = trainer._scorer.logps(views, ids, mask, wanted)
    assert sorted(server.scored) == sorted([[8, 9, 5, 6, 1], [8, 7, 1], [10, 5, 6, 1]])
    assert torch.equal(found[0, 0], found[1, 1])
    assert not found[1, 2].any()
    assert not found[0, 2, 2:].any()
    logps = server.model(input_ids=torch.tensor([[10, 5, 6, 1]])).logits[0, :-1].log_softmax(-1)
    torch.testing.assert_close(found[1, 0, :, 0], logps[torch.arange(3), torch.tensor([5, 6, 1])].detach())


SERVER_REFUSES = {
    "no server": ({"use_vllm": False}, "there is no server"),
    "colocated": ({"vllm_mode": "colocate"}, "there is no server"),
    "whole distributions": ({"level": "vocabulary", "baseline": "expected"}, "compares whole distributions"),
    "another teacher": ({"teacher": "ema"}, "teacher='ema' has others"),
    "a rule": ({"method": "antisd"}, "may look at whole distributions"),
    "a mean": ({"baseline": "expected"}, "mean over the vocabulary"),
    "temperature": ({"temperature": 0.8}, "at temperature 1, and rollouts are drawn at 0.8"),
    "alternatives": ({"credit_log_steps": 1, "credit_log_alternatives": 5}, "Set credit_log_alternatives=0"),
    "no teacher": ({"method": "grpo"}, "no teacher to score"),
}


@pytest.mark.parametrize(("options", "reason"), SERVER_REFUSES.values(), ids=SERVER_REFUSES)
def test_what_a_server_cannot_score_is_refused(tmp_path, options, reason):
    served = {**SCORED, "use_vllm": True, "vllm_mode": "server"}
    if "method" in options:
        served["baseline"] = "expected"
    with pytest.raises(ValueError, match=reason):
        make_config(tmp_path, **{**served, **options})
    assert isinstance(make_config(tmp_path, **{**SCORED, "use_vllm": True, "vllm_mode": "server"}), CreditConfig)
