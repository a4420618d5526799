"""Papers that a run rests on, as BibTeX. Authors are given where they are known here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from credit.methods import METHODS

# arXiv number -> (key, title, authors)
PAPERS = {
    "2605.11613": (
        "credit2026",
        "From Generic Correlation to Input-Specific Credit in On-Policy Self Distillation",
        "Guobin Shen and Lei Huang and Xiang Cheng and Chenxiao Zhao and Jindong Li and Dongcheng Zhao and Xing Yu",
    ),
    "2601.20802": (
        "sdpo2026",
        "Reinforcement Learning via Self-Distillation",
        r'Jonas H{\"u}botter and Frederike L{\"u}beck and Lejs Behric and Anton Baumann and Marco Bagatella and '
        "Daniel Marta and Ido Hakimi and Idan Shenfeld and Thomas Kleine Buening and Carlos Guestrin and "
        "Andreas Krause",
    ),
    "2402.03300": (
        "grpo2024",
        "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models",
        "Zhihong Shao and Peiyi Wang and Qihao Zhu and Runxin Xu and Junxiao Song and Mingchuan Zhang and Y. K. Li and "
        "Y. Wu and Daya Guo",
    ),
    "2503.20783": ("drgrpo2025", "Understanding R1-Zero-Like Training: A Critical Perspective", ""),
    "2604.03128": (
        "rlsd2026",
        "Self-Distilled RLVR",
        "Chenxu Yang and Chuanyu Qin and Qingyi Si and Minghui Chen and Naibin Gu and Dingyu Yao and Zheng Lin and "
        "Weiping Wang and Jiaqi Wang and Nan Duan",
    ),
    "2606.11709": ("rlcsd2026", "RLCSD: Reinforcement Learning with Contrastive On-Policy Self-Distillation", ""),
    "2605.11609": ("antisd2026", "Anti-Self-Distillation for Reasoning RL via Pointwise Mutual Information", ""),
    "2604.02288": (
        "srpo2026", "Unifying Group-Relative and Self-Distillation Policy Optimization via Sample Routing", "",
    ),
    "2601.18734": (
        "opsd2026",
        "Self-Distilled Reasoner: On-Policy Self-Distillation for Large Language Models",
        "Siyan Zhao and Zhihui Xie and Mengchen Liu and Jing Huang and Guan Pang and Feiyu Chen and Aditya Grover",
    ),
    "2601.19897": (
        "sdft2026",
        "Self-Distillation Enables Continual Learning",
        r'Idan Shenfeld and Mehul Damani and Jonas H{\"u}botter and Pulkit Agrawal',
    ),
}  # fmt: skip
GRPO, DR_GRPO, SDPO = "2402.03300", "2503.20783", "2601.20802"

TRL = """@software{trl2020,
  title = {{TRL: Transformers Reinforcement Learning}},
  author = {von Werra, Leandro and Belkada, Younes and Tunstall, Lewis and Beeching, Edward and Thrush, Tristan and
    Lambert, Nathan and Huang, Shengyi and Rasul, Kashif and Gallou{\\'e}dec, Quentin},
  year = {2020},
  url = {https://github.com/huggingface/trl}
}"""


def papers(config: Mapping[str, Any]) -> list[str]:
    """Return the arXiv numbers of what the options use, the method's own first.

    SDPO counts for every method with a teacher: what the teacher is shown, and how, is as SDPO has it.
    """
    rule = METHODS.get(str(config.get("method")))
    found = re.findall(r"arXiv (\d{4}\.\d{5})", rule.source) if rule else []
    blended = config.get("blend") not in (None, "none")
    if rule.needs_teacher if rule else "method" in config:
        found.append(SDPO)
    if blended or (rule is not None and rule.uses_group):
        found.append(GRPO)
    if GRPO in found and config.get("loss_type") == "dr_grpo":
        found.append(DR_GRPO)
    return list(dict.fromkeys(found))


def bibtex(config: Mapping[str, Any]) -> str:
    """Return the BibTeX entries of `papers`, and TRL's."""
    return "\n\n".join([*(_entry(number) for number in papers(config)), TRL])


def _entry(number: str) -> str:
    key, title, authors = PAPERS[number]
    lines = [f"  title = {{{{{title}}}}}", *([f"  author = {{{authors}}}"] if authors else [])]
    lines += [f"  year = {{20{number[:2]}}}", f"  eprint = {{{number}}}", "  archivePrefix = {arXiv}"]
    lines.append(f"  url = {{https://arxiv.org/abs/{number}}}")
    return f"@misc{{{key},\n" + ",\n".join(lines) + "\n}"
