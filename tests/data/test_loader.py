"""The loader: batches at random access, an order that is a pure function, and what Keras' `fit` makes of it."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import settings_of

from kdrecipes.backend import keras
from kdrecipes.data import loader as loaders
from kdrecipes.data import views as view_functions
from kdrecipes.data.examples import ViewSettings, show
from kdrecipes.data.loader import EpochSetter, Loader, Unlabelled
from kdrecipes.data.splits import Split
from kdrecipes.data.store import Store
from kdrecipes.training.fit import balanced_weights

VIEWS = settings_of({"flip": True, "crop_padding": 2}, seed=3)


def made_store(count: int = 23, side: int = 6) -> Store:
    """A store in memory whose examples have the indices 100, 102, 104, …, as where every second one was unreadable."""
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    images.flags.writeable = False
    labels, index = np.arange(count) % 4, 100 + 2 * np.arange(count)
    return Store(images, labels, index, ["a", "b", "c", "d"], "fingerprint", 0, [])


STORE = made_store()
WHOLE = Split(STORE, np.arange(23))


def same(first: tuple, second: tuple) -> bool:
    pairs = [(first[0][key], second[0][key]) for key in first[0]] + list(zip(first[1:], second[1:], strict=True))
    return all(torch.equal(a, b) for a, b in pairs)


def positions(loader: Loader, epoch: int) -> list[int]:
    loader.epoch = epoch
    return [int(i) for batch in range(len(loader)) for i in loader[batch][0]["index"]]


# --- what a batch is --------------------------------------------------------------------------------------------------


def test_a_batch_has_its_documented_dtypes_and_shapes():
    x, y = Loader(WHOLE, 5, 9, settings=VIEWS, order_seed=0)[0]
    assert x.keys() == {"image", "index"}
    assert x["image"].shape == (5, 9, 9, 3) and x["image"].dtype == torch.float32
    assert x["index"].shape == y.shape == (5,) and x["index"].dtype == y.dtype == torch.int64


def test_images_labels_and_index_belong_together():
    split = Split(STORE, np.array([20, 3, 7, 7, 0]))
    loader = Loader(split, 2, 6, order_seed=1)
    for batch in range(len(loader)):
        x, y = loader[batch]
        rows = split.positions[x["index"].numpy()]  # the index is the position in the split
        assert np.array_equal(x["image"].numpy(), STORE.images[rows]) and np.array_equal(y.numpy(), STORE.labels[rows])
    assert np.array_equal(split.labels, STORE.labels[[20, 3, 7, 7, 0]])
    assert split.index.tolist() == [140, 106, 114, 114, 100]


def test_a_batch_is_the_callers_own():
    loader = Loader(WHOLE, 5, 6, order_seed=0)
    before = positions(loader, 0)
    for batch in range(len(loader)):
        x, y = loader[batch]
        x["image"].zero_(), x["index"].zero_(), y.zero_()
    assert positions(loader, 0) == before and STORE.images.any() and STORE.labels.any()


@pytest.mark.parametrize("drop_last, sizes", [(False, [5, 5, 5, 5, 3]), (True, [5, 5, 5, 5])])
def test_the_last_incomplete_batch_is_given_or_dropped(drop_last, sizes):
    loader = Loader(WHOLE, 5, 6, drop_last=drop_last)
    assert len(loader) == len(sizes) and [len(loader[i][1]) for i in range(len(loader))] == sizes
    for batch in (-1, len(sizes)):
        with pytest.raises(IndexError, match=f"batch {batch} of {len(sizes)}"):
            loader[batch]
    whole = Loader(Split(STORE, np.arange(20)), 5, 6, drop_last=drop_last)
    assert [len(whole[i][1]) for i in range(len(whole))] == [5, 5, 5, 5]


def test_class_weights_become_sample_weights():
    weights = np.array([0.5, 1.0, 2.0, 0.0])
    x, y, weight = Loader(WHOLE, 8, 6, order_seed=0, class_weight=weights)[1]
    assert weight.dtype == torch.float32 and weight.tolist() == weights[y.numpy()].tolist()
    assert len(set(weight.tolist())) > 1 and len(x["index"]) == 8


# --- order ------------------------------------------------------------------------------------------------------------


def test_a_batch_at_random_access_is_that_of_the_sequential_pass():
    loader = Loader(WHOLE, 5, 9, settings=VIEWS, order_seed=4)
    passes = []
    for epoch in range(3):
        loader.epoch = epoch
        passes.append([loader[i] for i in range(len(loader))])
    for epoch, batch in [(2, 4), (0, 1), (1, 1), (2, 0), (0, 4), (1, 3)]:
        other = Loader(WHOLE, 5, 9, settings=VIEWS, order_seed=4)
        other.epoch = loader.epoch = epoch
        assert same(other[batch], passes[epoch][batch]) and same(loader[batch], passes[epoch][batch])


def test_the_order_is_a_pure_function_of_seed_and_epoch():
    orders = {(seed, e): positions(Loader(WHOLE, 5, 6, order_seed=seed), e) for seed in (0, 1) for e in (0, 1, 2)}
    assert len({tuple(order) for order in orders.values()}) == 6
    assert all(sorted(order) == list(range(23)) for order in orders.values())
    assert orders[1, 2] == np.random.default_rng([1, 2]).permutation(23).tolist()
    assert positions(Loader(WHOLE, 3, 6, order_seed=1, settings=VIEWS), 2) == orders[1, 2]  # whatever else is asked


def test_without_an_order_seed_the_splits_order_is_kept():
    loader = Loader(WHOLE, 5, 6)
    assert positions(loader, 0) == positions(loader, 7) == list(range(23))


def test_nothing_is_drawn_from_a_global_generator():
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    loader = Loader(WHOLE, 5, 9, settings=VIEWS, order_seed=0)
    before = states()
    expected = positions(loader, 1)
    assert states() == before
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    assert positions(Loader(WHOLE, 5, 9, settings=VIEWS, order_seed=0), 1) == expected


# --- views ------------------------------------------------------------------------------------------------------------


def images_of(loader: Loader, epoch: int) -> dict[int, torch.Tensor]:
    """Position in the split → what is shown of it in an epoch."""
    loader.epoch = epoch
    batches = [loader[i][0] for i in range(len(loader))]
    return {int(i): image for x in batches for i, image in zip(x["index"], x["image"], strict=True)}


def test_a_slice_sees_the_same_views_as_the_whole():
    chosen = np.array([19, 4, 5, 11])
    whole = images_of(Loader(WHOLE, 5, 9, settings=VIEWS, order_seed=0), 2)
    some = images_of(Loader(Split(STORE, chosen), 3, 9, settings=VIEWS, order_seed=7), 2)
    assert all(torch.equal(some[i], whole[int(position)]) for i, position in enumerate(chosen))


def test_views_are_drawn_by_the_index_in_the_source():
    # rows move when an image before them can't be read; the index, and so the view, does not
    moved = Store(STORE.images[1:], STORE.labels[1:], STORE.index[1:], STORE.classes, "", 0, [])
    whole = images_of(Loader(WHOLE, 5, 6, settings=VIEWS), 0)
    shifted = images_of(Loader(Split(moved, np.arange(22)), 5, 6, settings=VIEWS), 0)
    assert all(torch.equal(shifted[i], whole[i + 1]) for i in range(22))


def test_views_change_from_epoch_to_epoch_and_with_their_seed_alone():
    first, second = (images_of(Loader(WHOLE, 5, 6, settings=VIEWS), epoch) for epoch in (0, 1))
    other = images_of(Loader(WHOLE, 5, 6, settings=ViewSettings(VIEWS.views, 4)), 0)
    order = images_of(Loader(WHOLE, 7, 6, settings=VIEWS, order_seed=8), 0)
    assert sum(torch.equal(first[i], second[i]) for i in range(23)) < 5
    assert sum(torch.equal(first[i], other[i]) for i in range(23)) < 5
    assert all(torch.equal(first[i], order[i]) for i in range(23))


@pytest.mark.parametrize("settings", [None, ViewSettings()])
def test_evaluation_is_never_augmented(settings):
    for epoch in (0, 5):
        shown = images_of(Loader(WHOLE, 5, 6, settings=settings), epoch)
        assert np.array_equal(np.stack([shown[i] for i in range(23)]), STORE.images)


# --- mixing -----------------------------------------------------------------------------------------------------------

MIX = settings_of({"flip": True, "crop_padding": 2, "mixup": 0.8}, seed=3)


def test_a_mixed_image_is_its_own_and_its_partners_view_in_their_shares():
    some = Split(STORE, np.array([20, 3, 7, 15, 0, 11, 2]))
    everyone = np.arange(7)
    for epoch in (0, 4):
        own, labels = show(some, everyone, 9, VIEWS, epoch)
        mixed, shares_of_classes = show(some, everyone, 9, MIX, epoch)
        partner, share = view_functions.draw_mix(0.8, 3, epoch, some.index, 7)
        share = torch.from_numpy(share)[:, None, None, None]
        expected = share * own + (1 - share) * own[partner]
        torch.testing.assert_close(mixed, expected.float(), rtol=0, atol=1e-3)
        expected = np.zeros((7, 4))
        for i in range(7):
            expected[i, labels[i]] += share[i]
            expected[i, labels[partner[i]]] += 1 - share[i]
        assert shares_of_classes.dtype == torch.float32
        np.testing.assert_allclose(shares_of_classes.numpy(), expected, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 22), min_size=1, max_size=12), st.integers(0, 50), st.integers(0, 99), st.floats(0.01, 9)
)
def test_a_mix_is_the_same_in_any_company_and_its_label_whole(chosen, epoch, seed, alpha):
    settings = settings_of({"flip": True, "crop_padding": 1, "mixup": alpha}, seed)
    images, labels = show(WHOLE, np.array(chosen), 6, settings, epoch)
    assert images.shape == (len(chosen), 6, 6, 3) and labels.shape == (len(chosen), 4)
    assert ((labels >= 0).all() and (labels.sum(1) - 1).abs().max() < 1e-6) and images.max() <= 255 + 1e-3
    assert (labels.gather(1, torch.from_numpy(STORE.labels[chosen])[:, None]) >= 0.5).all()  # mostly itself
    for i, position in enumerate(chosen):
        alone, label = show(WHOLE, np.array([position]), 6, settings, epoch)
        assert torch.equal(alone[0], images[i]) and torch.equal(label[0], labels[i])


def test_mixed_batches_hold_the_same_views_in_any_batch():
    first = Loader(WHOLE, 5, 9, settings=MIX, order_seed=0)
    other = Loader(WHOLE, 7, 9, settings=MIX, order_seed=8)
    for epoch in (0, 1):
        a, b = images_of(first, epoch), images_of(other, epoch)
        assert all(torch.equal(a[i], b[i]) for i in range(23))
    x, y = first[2]
    assert y.shape == (5, 4) and y.dtype == torch.float32 and x["index"].dtype == torch.int64
    assert torch.equal(y, show(WHOLE, x["index"].numpy(), 9, MIX, 1)[1])


def test_a_mixed_example_weighs_what_its_labels_do():
    weights = balanced_weights(STORE.labels[:9], 4)
    _, y, weight = Loader(WHOLE, 8, 6, settings=MIX, order_seed=0, class_weight=weights)[1]
    np.testing.assert_allclose(weight.numpy(), y.numpy() @ weights, rtol=1e-6)
    assert weight.dtype == torch.float32 and len(set(weight.tolist())) > 4  # more than there are classes


# --- reading ahead ----------------------------------------------------------------------------------------------------


@pytest.fixture
def mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Split:
    """The examples of WHOLE, mapped from a file, with a loader that reads files ahead however small they are."""
    np.save(tmp_path / "images.npy", STORE.images)
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    monkeypatch.setattr(loaders, "_AHEAD_FROM", 1)
    return Split(Store(images, STORE.labels, STORE.index, STORE.classes, "fingerprint", 0, []), np.arange(23))


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("kdrecipes reads")]


def all_read() -> None:
    """Wait for what is being read; no reader stays."""
    for thread in readers():
        thread.join(10)
    assert readers() == []


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, list[int]]]:
    """What was read: epochs and positions, sorted by when it was asked for."""
    seen: list[tuple[int, list[int]]] = []
    read = loaders.read

    def recording(split, chosen, settings, epoch):
        seen.append((epoch, chosen.tolist()))
        return read(split, chosen, settings, epoch)

    monkeypatch.setattr(loaders, "read", recording)
    return seen


def test_only_large_mapped_stores_are_read_ahead(mapped, monkeypatch):
    assert Loader(mapped, 5, 6).read_ahead and not Loader(WHOLE, 5, 6).read_ahead
    monkeypatch.setattr(loaders, "_AHEAD_FROM", mapped.store.images.nbytes + 1)
    assert not Loader(mapped, 5, 6).read_ahead


@pytest.mark.parametrize("settings", [VIEWS, MIX])
def test_batches_are_the_same_when_they_are_read_ahead(mapped, settings):
    ahead, plain = (Loader(split, 3, 9, settings=settings, order_seed=4) for split in (mapped, WHOLE))
    asked = [(0, i) for i in range(8)] + [(1, 0), (1, 1), (1, 3), (1, 2), (0, 2), (0, 3), (2, 7), (2, 0), (2, 1)]
    for epoch, batch in asked:
        ahead.epoch = plain.epoch = epoch
        assert same(ahead[batch], plain[batch])
    all_read()


def test_a_few_batches_of_the_epoch_are_read_ahead_from_the_first_on(mapped, reads):
    loader = Loader(mapped, 3, 6, order_seed=4)
    loader.epoch = 2
    order = loader.order().tolist()
    batches = [(2, order[3 * i : 3 * i + 3]) for i in range(8)]
    assert not reads
    for batch in range(8):
        loader[batch]
        all_read()
        assert sorted(reads) == sorted(batches[: batch + 1 + 3])  # each once, and no further ahead
    loader.on_epoch_end()


def test_nothing_of_another_epoch_is_given_out(mapped):
    loader = Loader(mapped, 5, 6, settings=VIEWS, order_seed=4)
    loader[0]  # as `fit` does before its first epoch: batches 1 to 3 of epoch 0 are on their way
    plain = Loader(WHOLE, 5, 6, settings=VIEWS, order_seed=4)
    loader.epoch = plain.epoch = 1
    assert same(loader[1], plain[1])
    all_read()


def test_nothing_is_kept_of_an_epoch_that_ended(mapped, reads):
    loader = Loader(mapped, 5, 6)
    loader[0], all_read()
    loader.on_epoch_end()
    loader[1], all_read()
    assert [positions[0] for _, positions in sorted(reads)] == [0, 5, 5, 10, 10, 15, 15, 20]


def test_an_error_of_reading_arrives_with_its_batch(mapped, monkeypatch):
    read = loaders.read

    def failing(split, chosen, settings, epoch):
        if 7 in chosen:
            raise OSError("disk on fire")
        return read(split, chosen, settings, epoch)

    monkeypatch.setattr(loaders, "read", failing)
    loader = Loader(mapped, 3, 6)
    loader[0], loader[1]
    with pytest.raises(OSError, match="disk on fire"):
        loader[2]
    assert loader[3][0]["index"].tolist() == [9, 10, 11]
    all_read()


@pytest.mark.parametrize("how", [KeyboardInterrupt, ValueError, None])
def test_no_reader_outlives_a_fit_however_it_ends(mapped, how):
    class Stop(keras.callbacks.Callback):
        """Ends the fit in the second epoch's first batch."""

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            if self.epoch == 1 and how is not None:
                raise how
            self.model.stop_training = self.epoch == 1

    loader = Loader(mapped, 3, 6, settings=VIEWS, order_seed=2)
    try:
        fit_witness(loader, Loader(mapped, 4, 6), callbacks=[Stop()])
    except BaseException as error:
        assert type(error) is how
    all_read()


# --- in fit -----------------------------------------------------------------------------------------------------------


class Witness(keras.Model):
    """Trains nothing; keeps what its training steps were given."""

    def __init__(self):
        super().__init__()
        self.seen: list[tuple] = []

    def call(self, x):
        """One number per image."""
        return keras.ops.mean(x["image"], axis=(1, 2, 3))[:, None]

    def train_step(self, data):
        """Keep the batch."""
        self.seen.append(data)
        return {"loss": 0.0}


def fit_witness(loader: Loader, validation: Loader, initial: int = 0, callbacks: list | None = None) -> list[tuple]:
    """What the training steps of three epochs were given."""
    witness = Witness()
    witness.compile(loss="mse", run_eagerly=True)
    witness.fit(
        loader,
        epochs=3,
        initial_epoch=initial,
        verbose=0,
        shuffle=False,
        callbacks=[EpochSetter(loader), *(callbacks or [])],
        validation_data=validation,
    )
    return witness.seen


@pytest.mark.parametrize("initial", [0, 1])
@pytest.mark.parametrize("ahead", [False, True])
def test_fit_sees_each_epochs_own_batches(initial, ahead, mapped):
    """`fit` makes more iterators than epochs; none of them may see another epoch's order or views."""
    split = mapped if ahead else WHOLE
    loader = Loader(split, 5, 6, settings=VIEWS, order_seed=2, drop_last=True)
    state = random.getstate()
    found = fit_witness(loader, Loader(split, 8, 6), initial)
    assert random.getstate() == state
    reference = Loader(WHOLE, 5, 6, settings=VIEWS, order_seed=2, drop_last=True)
    expected = []
    for epoch in range(initial, 3):
        reference.epoch = epoch
        expected += [reference[i] for i in range(4)]
    assert len(found) == len(expected)
    assert all(same(seen, wanted) for seen, wanted in zip(found, expected, strict=True))


# --- on a GPU ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [None, VIEWS, MIX])
def test_every_part_of_a_batch_is_where_keras_computes(monkeypatch, settings):
    """With torch's device without memory in the GPU's place."""
    monkeypatch.setattr(view_functions, "to_device", lambda t, device: t.to(device) if device == "meta" else t)
    loader = Loader(
        WHOLE,
        5,
        9,
        settings=settings,
        class_weight=np.ones(4),
        teachers={"big": lambda e, at: np.zeros((len(at), 4), np.float16)},
    )
    with keras.device("meta"):
        x, y, weight = loader[0]
    assert {tensor.device.type for tensor in keras.tree.flatten((x, y, weight))} == {"meta"}
    assert x["image"].shape == (5, 9, 9, 3) and y.shape == ((5, 4) if settings is MIX else (5,))
    assert x["teacher"]["big"].dtype == torch.float16
    assert loader[0][0]["image"].device.type == "cpu"


# --- another size for the teacher -------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [None, VIEWS, settings_of({"mixup": 0.4, "flip": True}, seed=1)])
def test_the_teacher_sees_the_same_view_at_its_own_size(settings):
    """The same boxes, mirrors and partners, resized from the stored pixels."""
    both = Loader(WHOLE, 8, 6, settings=settings, order_seed=0, teacher_sizes={"big": 12})[1]
    x, y = Loader(WHOLE, 8, 12, settings=settings, order_seed=0)[1]
    assert torch.equal(both[0]["teacher_image"]["big"], x["image"]) and torch.equal(both[1], y)
    assert torch.equal(both[0]["image"], Loader(WHOLE, 8, 6, settings=settings, order_seed=0)[1][0]["image"])


def test_a_teacher_of_the_same_size_gets_no_images_of_its_own():
    assert Loader(WHOLE, 8, 6, teacher_sizes={"big": 6})[0][0].keys() == {"image", "index"}


# --- images without labels beside images with them --------------------------------------------------------------------

MIX_VIEWS = settings_of({"flip": True, "crop_padding": 2, "mixup": 0.4}, seed=3)


class Secret(np.ndarray):
    """Labels that nobody may read."""

    def __getitem__(self, key):
        raise AssertionError("a label of an image without labels was read")


def pool(count: int, side: int = 6, seed: int = 1) -> Split:
    """Images whose store holds labels that raise."""
    store = made_store(count, side)
    images = np.random.default_rng(seed).integers(0, 256, store.images.shape, np.uint8)
    hidden = Store(images, np.zeros(count, np.int64).view(Secret), store.index, store.classes, "other", 0, [])
    return Split(hidden, np.arange(count), labelled=False)


def mixed(few: int = 5, take: int = 6, steps: int = 4, settings=VIEWS, **options) -> Loader:
    """Batches of 8: two with labels and six without, of two splits of other stores."""
    own = Split(STORE, np.arange(few))
    others = Unlabelled((pool(9), pool(16, side=8, seed=2)), take)
    return Loader(own, 8, 6, settings=settings, order_seed=2, drop_last=True, unlabelled=others, steps=steps, **options)


def test_a_batch_holds_images_with_labels_first_and_then_those_without():
    x, y = mixed()[0]
    assert x["image"].shape == (8, 6, 6, 3) and x["index"].dtype == y.dtype == torch.int64
    assert (x["index"][:2] < 5).all() and (x["index"][2:] >= 5).all() and (x["index"] < 5 + 25).all()
    assert y[:2].tolist() == STORE.labels[x["index"][:2]].tolist() and y[2:].tolist() == [-1] * 6


def test_an_epoch_passes_over_all_images_without_labels_and_over_the_others_as_often_as_that_takes():
    loader = mixed()
    for epoch in range(3):
        seen = positions(loader, epoch)
        without, own = [i for i in seen if i >= 5], [i for i in seen if i < 5]
        assert len(set(without)) == len(without) == 24
        assert len(own) == 8 and all(own.count(i) <= 2 for i in range(5))  # two passes, each of two batches


def test_views_of_an_image_change_with_the_pass_and_not_with_the_epoch():
    loader, own = mixed(), Split(STORE, np.arange(5))
    for epoch in range(2):
        loader.epoch = epoch
        for batch in range(4):
            x, _ = loader[batch]
            passed = (epoch * 4 + batch) // 2
            wanted = show(own, x["index"][:2].numpy(), 6, VIEWS, passed)[0]
            assert torch.equal(x["image"][:2], wanted)


def test_the_labels_only_student_passes_over_its_images_in_the_same_number_of_steps():
    loader = Loader(Split(STORE, np.arange(9)), 4, 6, settings=VIEWS, order_seed=2, drop_last=True, steps=7)
    assert len(loader) == 7
    seen = [positions(loader, epoch) for epoch in range(2)]
    assert all(len(epoch) == 28 for epoch in seen)
    passes = [(seen[0] + seen[1])[start : start + 8] for start in range(0, 56, 8)]
    assert all(len(set(one)) == 8 for one in passes) and len({tuple(one) for one in passes}) == 7


def test_a_batch_may_be_larger_than_all_images_with_labels():
    loader = Loader(Split(STORE, np.arange(3)), 8, 6, settings=VIEWS, order_seed=2, drop_last=True, steps=3)
    seen = positions(loader, 0)
    assert [sorted(seen[start : start + 3]) for start in range(0, 24, 3)] == [[0, 1, 2]] * 8
    x, _ = loader[0]
    first, second = x["image"][:3][x["index"][:3].argsort()], x["image"][3:6][x["index"][3:6].argsort()]
    assert not torch.equal(first, second), "each pass has views of its own"


def test_labels_of_images_without_labels_are_never_read_and_mixing_keeps_to_its_kind():
    loader = mixed(settings=MIX_VIEWS)
    for batch in range(4):
        _, y = loader[batch]
        assert y.shape == (8, 4) and torch.allclose(y[:2].sum(1), torch.ones(2)) and not y[2:].any()


def test_class_weights_leave_images_without_labels_alone():
    for settings_ in (VIEWS, MIX_VIEWS):
        _, _, weight = mixed(settings=settings_, class_weight=np.array([2.0, 3.0, 4.0, 5.0]))[0]
        assert weight.dtype == torch.float32 and weight[2:].tolist() == [1.0] * 6 and (weight[:2] >= 2).all()


def test_teachers_are_asked_about_passes_and_about_positions_among_all_images():
    asked = []

    def outputs(number, at):
        asked.append((number, at.tolist()))
        return np.zeros((len(at), 4), np.float16)

    loader = mixed(teachers={"t": outputs}, teacher_sizes={"live": 9})
    loader.epoch = 1
    x, _ = loader[3]
    assert [i for _, at in asked for i in at] == x["index"].tolist()
    assert asked[0][0] == 3 and {number for number, _ in asked[1:]} == {1}
    assert all(max(at) < 5 or max(at) < 14 or min(at) >= 14 for _, at in asked), "each call is about one split"
    assert x["teacher"]["t"].shape == (8, 4) and x["teacher_image"]["live"].shape == (8, 9, 9, 3)


def test_mixed_batches_are_the_same_when_they_are_read_ahead(monkeypatch):
    ahead, plain = mixed(), mixed()
    ahead.read_ahead = True
    for epoch, batch in [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 2)]:
        ahead.epoch = plain.epoch = epoch
        assert same(ahead[batch], plain[batch])
