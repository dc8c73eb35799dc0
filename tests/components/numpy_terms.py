"""The distillation terms on logits once more, for the tests: NumPy, float64, loops over images and classes.

Written from the papers' formulas, for one image at a time where the formula is. Each takes classes, the student's and
the teacher's logits, and the term's options; it gives one value for each image, or a float where there is no such.
"""

from __future__ import annotations

import math

import numpy as np


def log_softmax(z):
    z = np.asarray(z, np.float64)
    return z - z.max() - math.log(np.exp(z - z.max()).sum())


def softmax(z):
    return np.exp(log_softmax(z))


def kl(p, log_p, log_q):
    """Σ p · (log p − log q), without the classes of probability 0."""
    return sum(p[k] * (log_p[k] - log_q[k]) for k in range(len(p)) if p[k] > 0)


def by_image(function):
    def term(classes, student, teacher, **options):
        return np.array([function(y, s, t, **options) for y, s, t in zip(classes, student, teacher, strict=True)])

    return term


def without(z, y):
    """A vector without its element y."""
    return np.array([z[k] for k in range(len(z)) if k != y])


@by_image
def kd(y, s, t, temperature=4.0):
    return temperature**2 * kl(softmax(t / temperature), log_softmax(t / temperature), log_softmax(s / temperature))


@by_image
def kd_mse(y, s, t):
    return sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) / len(s)


@by_image
def soft_ce(y, s, t, temperature=4.0):
    p, log_q = softmax(t / temperature), log_softmax(s / temperature)
    return -(temperature**2) * sum(a * b for a, b in zip(p, log_q, strict=True))


@by_image
def dkd(y, s, t, alpha=1.0, beta=8.0, temperature=4.0):
    log_p, log_q = log_softmax(t / temperature), log_softmax(s / temperature)
    pairs = [np.array([z[y], np.logaddexp.reduce(without(z, y))]) for z in (log_p, log_q)]
    target = kl(np.exp(pairs[0]), *pairs)
    others = [log_softmax(without(z, y) / temperature) for z in (t, s)]
    return temperature**2 * (alpha * target + beta * kl(np.exp(others[0]), *others))


def dist(classes, student, teacher, temperature=1.0, beta=1.0, gamma=1.0):
    q, p = (np.array([softmax(z / temperature) for z in logits]) for logits in (student, teacher))

    def correlation(a, b):
        a, b = a - a.mean(), b - b.mean()
        return (a * b).sum() / (math.sqrt((a * a).sum()) * math.sqrt((b * b).sum()) + 1e-8)

    images = 1 - sum(correlation(q[i], p[i]) for i in range(len(q))) / len(q)
    columns = 1 - sum(correlation(q[:, k], p[:, k]) for k in range(q.shape[1])) / q.shape[1]
    return temperature**2 * (beta * images + gamma * columns)


@by_image
def lskd(y, s, t, temperature=2.0):
    def standardised(z):
        mean = sum(z) / len(z)
        deviation = math.sqrt(sum((one - mean) ** 2 for one in z) / (len(z) - 1))
        return np.array([(one - mean) / (deviation + 1e-7) for one in z])

    s, t = standardised(s) / temperature, standardised(t) / temperature
    return temperature**2 * kl(softmax(t), log_softmax(t), log_softmax(s))


@by_image
def nkd(y, s, t, gamma=1.5, temperature=1.0):
    target = -softmax(t)[y] * log_softmax(s)[y]
    p, log_q = softmax(without(t, y) / temperature), log_softmax(without(s, y) / temperature)
    return target - gamma * temperature**2 * sum(a * b for a, b in zip(p, log_q, strict=True))


@by_image
def wsld(y, s, t, temperature=2.0, weighed_by=None):
    """`weighed_by`: the student's logits that the weight is made of, where it shall be held."""
    own, heard = -log_softmax(s if weighed_by is None else weighed_by)[y], -log_softmax(t)[y]
    p, log_q = softmax(t / temperature), log_softmax(s / temperature)
    entropy = -sum(a * b for a, b in zip(p, log_q, strict=True))
    return temperature**2 * (1 - math.exp(-own / (heard + 1e-7))) * entropy


def powers(t, gamma):
    return np.array([math.exp(gamma * one) for one in log_softmax(t)])


@by_image
def ttm(y, s, t, gamma=0.1):
    p = powers(t, gamma) / powers(t, gamma).sum()
    return kl(p, np.log(p), log_softmax(s))


@by_image
def wttm(y, s, t, gamma=0.2):
    total = powers(t, gamma).sum()
    p = powers(t, gamma) / total
    return total * kl(p, np.log(p), log_softmax(s))


@by_image
def ofa_logit(y, s, t, epsilon=1.0, temperature=1.0):
    p, log_q = softmax(t / temperature), log_softmax(s / temperature)
    value = 0.0
    for k in range(len(s)):
        label = 1.0 if k == y else 0.0
        value -= ((p[k] + label) ** epsilon - label) * log_q[k]
    return value


@by_image
def teacher_free(y, s, t, confidence=0.99, temperature=20.0):
    virtual = [confidence if k == y else (1 - confidence) / (len(s) - 1) for k in range(len(s))]
    tempered = np.array([one ** (1 / temperature) for one in virtual])
    tempered /= tempered.sum()
    return temperature**2 * kl(tempered, np.log(tempered), log_softmax(s / temperature))


def mlkd(classes, student, teacher, temperatures=(2.0, 3.0, 4.0, 5.0, 6.0)):
    batch, width = np.shape(student)
    total = 0.0
    for temperature in temperatures:
        q, p = (np.array([softmax(z / temperature) for z in logits]) for logits in (student, teacher))
        total += kd(classes, student, teacher, temperature=temperature).mean()
        for i in range(batch):
            for j in range(batch):
                total += (sum(p[i] * p[j]) - sum(q[i] * q[j])) ** 2 / batch
        grams = [sum(np.outer(row, row) for row in rows) for rows in (p, q)]
        total += ((grams[0] - grams[1]) ** 2).sum() / width
    return total


@by_image
def abkd(y, s, t, alpha=0.8, beta=0.3, temperature=4.0):
    log_p, log_q = log_softmax(t / temperature), log_softmax(s / temperature)
    value = 0.0
    for a, b in zip(log_p, log_q, strict=True):
        if alpha and beta:
            both = alpha + beta
            powers_of_both = alpha / both * math.exp(both * a) + beta / both * math.exp(both * b)
            value += (powers_of_both - math.exp(alpha * a + beta * b)) / (alpha * beta)
        elif alpha:
            value += (alpha * (a - b) * math.exp(alpha * a) - math.exp(alpha * a) + math.exp(alpha * b)) / alpha**2
        elif beta:
            value += (beta * (b - a) * math.exp(beta * b) - math.exp(beta * b) + math.exp(beta * a)) / beta**2
        else:
            value += (a - b) ** 2 / 2
    return value


@by_image
def rld(y, s, t, alpha=1.0, beta=8.0, temperature=4.0):
    best = max(range(len(t)), key=lambda k: t[k])
    pairs = [
        np.array([z[k], np.logaddexp.reduce(without(z, k))]) for z, k in ((log_softmax(t), best), (log_softmax(s), y))
    ]
    below = [k for k in range(len(t)) if t[k] < t[y]]
    value = alpha * kl(np.exp(pairs[0]), *pairs)
    if below:
        kept = [log_softmax(z[below] / temperature) for z in (t, s)]
        value += beta * temperature**2 * kl(np.exp(kept[0]), *kept)
    return value


@by_image
def pld(y, s, t):
    ranking = [y, *sorted((k for k in range(len(t)) if k != y), key=lambda k: -t[k])]
    p, value = softmax(t), 0.0
    for position, k in enumerate(ranking):
        left = s[ranking[position:]]
        value += p[k] * (left.max() + math.log(np.exp(left - left.max()).sum()) - s[k])
    return value


TERMS = {
    name: globals()[name]
    for name in (
        "kd",
        "kd_mse",
        "soft_ce",
        "dkd",
        "dist",
        "lskd",
        "nkd",
        "wsld",
        "ttm",
        "wttm",
        "ofa_logit",
        "teacher_free",
        "mlkd",
        "abkd",
        "rld",
        "pld",
    )
}
