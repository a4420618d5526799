"""CREDIT's maths without a trainer: for verl, prime-rl or a loop of your own. Needs torch only.

Your framework scores three things on the *same* response tokens: the student, the teacher (own prompt plus
feedback z), and the teacher under the prompts of unrelated rollouts (same z). Here they are made up: seeing z
makes two words likelier, `answer` only under the prompt it belongs to, and `so` under any prompt.

    python examples/rewards_only.py
"""

import torch

from credit.contrast import draw_negatives
from credit.divergences import reverse_kl
from credit.rewards import FORMS, contrastive_teacher, credit_reward, decompose, filtering_increment

WORDS = ["so", "answer", "the", "is", "of", "and", "to", "a"]
ROLLOUTS, TOKENS, NEGATIVES, LAM = 8, 5, 2, 0.1
torch.manual_seed(0)

# 1. Who is x'? Two rollouts for each of four prompts; row indices, -1 where nobody unrelated is left.
prompts = [f"question {row // 2}" for row in range(ROLLOUTS)]
generator = torch.Generator().manual_seed(0)
negatives_BC = draw_negatives(prompts, [row // 2 for row in range(ROLLOUTS)], NEGATIVES, generator)
assert (negatives_BC >= 0).all()  # otherwise give such rollouts lam=0: see rewards.generic_score(available=...)
print("negatives of rollout 0:", [prompts[j] for j in negatives_BC[0].tolist()])

# 2. Log-probabilities over the vocabulary, (B, T, V); the contrast has a leading axis of C negatives.
student_logits = torch.randn(ROLLOUTS, TOKENS, len(WORDS), requires_grad=True)
logp_student = student_logits.log_softmax(-1)
seen = torch.tensor([2.0 if word == "so" else 0.0 for word in WORDS])
own = torch.tensor([3.0 if word == "answer" else 0.0 for word in WORDS])
with torch.no_grad():
    logp_teacher = (student_logits + seen + own).log_softmax(-1)
    unrelated = student_logits + torch.randn(NEGATIVES, ROLLOUTS, TOKENS, len(WORDS)) / 2
    logp_contrast = (unrelated + seen).log_softmax(-1)
    logp_nofeedback = unrelated.log_softmax(-1)

# 3. What each word would earn at the first position of rollout 0, in nats.
r = filtering_increment(logp_teacher, logp_student.detach())
S, G = decompose(logp_teacher, logp_contrast)
R = {
    form: credit_reward(logp_teacher, logp_student.detach(), logp_contrast, LAM, form, logp_nofeedback)
    for form in FORMS
}
columns = {"r": r, "S": S, "G": G, **{f"R {form}": reward for form, reward in R.items()}}
print("\nword  " + "".join(f"{name:>{len(name) + 8}}" for name in columns))
for v, word in enumerate(WORDS):
    print(f"{word:6}" + "".join(f"{values[0, 0, v].item():{len(name) + 8}.2f}" for name, values in columns.items()))

# 4. A loss. Token level: R of the sampled tokens are advantages. Vocabulary level: approach the target.
logq = contrastive_teacher(logp_teacher, logp_contrast, LAM)
loss = reverse_kl(logp_student, logq).mean()
loss.backward()
gradient = student_logits.grad.norm()
print(f"\nreverse KL to the contrastive teacher: {loss.item():.3f}, |gradient| {gradient.item():.3f}")
