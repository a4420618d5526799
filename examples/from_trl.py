"""A TRL script becomes a CREDIT script in three lines (marked).

Run:  python examples/from_trl.py
It trains the embedded base model for a few steps; replace `MODEL` and the rows by your own.
"""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the embedded model needs no network

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from credit import CreditConfig, CreditTrainer  # 1: was `from trl import GRPOConfig, GRPOTrainer`
from credit.tasks import get_task
from credit.tiny import BASE_PATH

MODEL = str(BASE_PATH)
task = get_task("tiny")


def reward(prompts, completions, **columns):
    scores = []
    for i, completion in enumerate(completions):
        row = {name: values[i] for name, values in columns.items() if isinstance(values, list)}
        grade = task.grade({"prompt": prompts[i], **row}, completion[0]["content"])
        scores.append((grade.score, grade.feedback))  # 2: was `scores.append(grade.score)`
    return scores


def main() -> None:
    trainer = CreditTrainer(  # 3: was `GRPOTrainer(`
        model=AutoModelForCausalLM.from_pretrained(MODEL),
        processing_class=AutoTokenizer.from_pretrained(MODEL),
        reward_funcs=reward,
        train_dataset=Dataset.from_list(task.rows("train", limit=64)),
        args=CreditConfig(
            output_dir=os.environ.get("CREDIT_EXAMPLE_OUT", "runs/from_trl"),
            per_device_train_batch_size=32,
            num_generations=8,
            max_completion_length=64,
            max_steps=4,
            learning_rate=5e-4,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
        ),
    )
    trainer.train()
    last = [log for log in trainer.state.log_history if "reward" in log][-1]
    print(f"step {last['step']}: reward {last['reward']:.3f}, share without teacher {last['credit/no_teacher']:.3f}")


if __name__ == "__main__":
    main()
