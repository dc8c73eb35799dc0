"""The feature terms once more, in NumPy and loops, straight from their formulas: what the torch ones are held to.

Each takes the student's and the teacher's features of a single pair of layers, float64 channels last, and gives what
the term gives: (batch,) values or a number.
"""

from __future__ import annotations

import itertools

import numpy as np


def pooled(feature, height, width):
    """A map at a smaller size that divides its own."""
    n, h, w, c = feature.shape
    return feature.reshape(n, height, h // height, width, w // width, c).mean((2, 4))


def to_smaller(a, b):
    height, width = min(a.shape[1], b.shape[1]), min(a.shape[2], b.shape[2])
    return pooled(a, height, width), pooled(b, height, width)


def as_vectors(feature):
    return feature if feature.ndim == 2 else np.array([image.reshape(-1, image.shape[-1]).mean(0) for image in feature])


def unit(vector):
    length = np.sqrt(sum(x * x for x in vector))
    return vector / length if length else vector


def hint(student, teacher):
    return np.array([((s - t) ** 2).mean() for s, t in zip(student, teacher, strict=True)])


def attention(student, teacher):
    values = []
    for s, t in zip(*to_smaller(student, teacher), strict=True):
        difference = unit((s**2).mean(-1).ravel()) - unit((t**2).mean(-1).ravel())
        values.append((difference**2).mean())
    return np.array(values)


def similarity_preserving(student, teacher):
    batch, total = len(student), 0.0
    for i in range(batch):
        s = unit(np.array([student[i].ravel() @ student[j].ravel() for j in range(batch)]))
        t = unit(np.array([teacher[i].ravel() @ teacher[j].ravel() for j in range(batch)]))
        total += ((s - t) ** 2).sum()
    return total / batch**2


def huber(x):
    return x * x / 2 if abs(x) < 1 else abs(x) - 1 / 2


def rkd_distance(student, teacher):
    def distances(rows):
        n = len(rows)
        apart = np.array([[np.linalg.norm(a - b) for b in rows] for a in rows])
        return apart / (apart.sum() / (n * (n - 1)))

    return np.mean([huber(x) for x in (distances(as_vectors(student)) - distances(as_vectors(teacher))).ravel()])


def rkd_angle(student, teacher):
    student, teacher = as_vectors(student), as_vectors(teacher)

    def cosine(rows, i, corner, k):
        return unit(rows[i] - rows[corner]) @ unit(rows[k] - rows[corner])

    triples = itertools.product(range(len(student)), repeat=3)
    return np.mean([huber(cosine(student, *triple) - cosine(teacher, *triple)) for triple in triples])


def rkd(student, teacher, distance=1.0, angle=2.0):
    return distance * rkd_distance(student, teacher) + angle * rkd_angle(student, teacher)


def pkt(student, teacher):
    def probabilities(rows):
        rows = [row / (np.sqrt(row @ row) + 1e-7) for row in rows]
        alike = np.array([[(1 + a @ b) / 2 for b in rows] for a in rows])
        return alike / alike.sum(1, keepdims=True)

    q, p = probabilities(as_vectors(student)), probabilities(as_vectors(teacher))
    return (p * np.log((p + 1e-7) / (q + 1e-7))).mean()


def nst(student, teacher):
    def kernel(a, b):
        return np.mean([(x @ y) ** 2 for x in a for y in b])

    values = []
    for s, t in zip(*to_smaller(student, teacher), strict=True):
        s, t = ([unit(feature[..., i].ravel()) for i in range(feature.shape[-1])] for feature in (s, t))
        values.append(kernel(s, s) + kernel(t, t) - 2 * kernel(s, t))
    return np.array(values)


def fsp(first_student, first_teacher, second_student, second_teacher):
    def flow(a, b):
        gram = np.zeros((a.shape[-1], b.shape[-1]))
        for row in range(a.shape[0]):
            for column in range(a.shape[1]):
                gram += np.outer(a[row, column], b[row, column])
        return gram / (a.shape[0] * a.shape[1])

    student, teacher = to_smaller(first_student, second_student), to_smaller(first_teacher, second_teacher)
    return np.array(
        [((flow(*s) - flow(*t)) ** 2).mean() for s, t in zip(zip(*student), zip(*teacher), strict=True)]  # noqa: B905
    )


def wkd_features(student, teacher, gamma=2.0):
    values = []
    for s, t in zip(student, teacher, strict=True):
        total = 0.0
        for channel in range(s.shape[-1]):
            x, y = s[..., channel].ravel(), t[..., channel].ravel()
            deviations = [np.sqrt(((z - z.mean()) ** 2).sum() / (len(z) - 1) + 1e-5) for z in (x, y)]
            total += gamma * (x.mean() - y.mean()) ** 2 + (deviations[0] - deviations[1]) ** 2
        values.append(total)
    return np.array(values)
