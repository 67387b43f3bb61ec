"""Training with PyTorch: the recipe's steps, alone and in a group, and states from which a run goes on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch.nn.functional import cross_entropy

from cs231n.pytorch.convnet import ConvNet
from cs231n.pytorch.data import ImageDataset
from cs231n.pytorch.training import Recipe, Training, pick_device

pytestmark = pytest.mark.q5

RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.1)


def make_datasets(train=50, val=13, classes=4):
    """Noise whose brightest quarter tells the class, so that it can be learned."""
    rng = np.random.default_rng(0)
    datasets = {}
    for name, count in {"train": train, "val": val}.items():
        images = rng.integers(0, 100, (count, 3, 16, 16), dtype=np.uint8)
        labels = rng.integers(0, classes, count)
        for image, label in zip(images, labels, strict=True):
            image[:, 4 * label : 4 * label + 4] += 120
        datasets[name] = ImageDataset(images, labels, [str(i) for i in range(classes)])
    return datasets


def make_training(recipe=RECIPE, model=None, **sizes):
    datasets = make_datasets(**sizes)
    torch.manual_seed(recipe.seed)
    return Training(model or ConvNet(4, width=0.25), datasets, recipe, "cpu")


def params_of(training):
    return [p.detach().clone() for p in training.model.parameters()]


def assert_equal(tensors, others):
    for tensor, other in zip(tensors, others, strict=True):
        assert torch.equal(tensor, other)


class TestRecipe:
    @pytest.mark.parametrize(
        "name, value, rule",
        [
            ("epochs", 0, "an integer of at least 1"),
            ("batch_size", 2.5, "an integer of at least 1"),
            ("shift", -1, "an integer of at least 0"),
            ("seed", -1, "an integer of at least 0"),
            ("learning_rate", 0.0, r"in \(0, inf\)"),
            ("learning_rate", float("nan"), r"in \(0, inf\)"),
            ("warmup", 1.0, r"in \(0, 1\)"),
            ("momentum", 1.0, r"in \[0, 1\)"),
            ("weight_decay", -1e-4, r"in \[0, inf\)"),
            ("label_smoothing", 1.0, r"in \[0, 1\)"),
        ],
    )
    def test_a_value_that_does_not_fit_is_named(self, name, value, rule):
        with pytest.raises(ValueError, match=f"{name} must be {rule}; got {value!r}"):
            replace(RECIPE, **{name: value})


class TestStep:
    def test_it_is_sgd_with_nesterov_momentum_and_decay_of_the_weights_only(self):
        """Two steps beside the same worked out with autograd and the formula of Sutskever et al. (2013)."""
        recipe = replace(RECIPE, momentum=0.9, weight_decay=0.1, label_smoothing=0.2)
        training = make_training(recipe, nn.Sequential(nn.Flatten(), nn.Linear(768, 4)))
        training.augment = training.normalize  # no chance
        w, b = (p.detach().clone().requires_grad_() for p in training.model.parameters())
        velocities = [torch.zeros_like(w), torch.zeros_like(b)]
        images, labels = training.datasets["train"].__getitems__(range(16))
        for _ in range(2):
            rate = training.schedule.get_last_lr()[0]
            x = training.normalize(images).flatten(1)
            loss = cross_entropy(x @ w.T + b, labels, label_smoothing=0.2)
            dw, db = torch.autograd.grad(loss, (w, b))
            with torch.no_grad():
                for p, grad, v in zip((w, b), (dw + 0.1 * w, db), velocities, strict=True):
                    v.mul_(0.9).add_(grad)
                    p -= rate * (grad + 0.9 * v)
            summed_loss, correct, count = training.step(images, labels)
            torch.testing.assert_close(summed_loss, 16 * loss.detach())
            assert 0 <= correct <= count == 16
            torch.testing.assert_close(training.model[1].weight, w)
            torch.testing.assert_close(training.model[1].bias, b)

    def test_the_rate_rises_to_its_peak_and_falls_to_nothing(self):
        recipe = replace(RECIPE, epochs=5, learning_rate=0.2, warmup=0.3)
        training = make_training(recipe)
        rates = []
        images, labels = training.datasets["train"].__getitems__(range(4))
        steps = 5 * 4  # epochs of 50 images in minibatches of 16
        for _ in range(steps):
            rates.append(training.schedule.get_last_lr()[0])
            training.step(images, labels)
        assert np.argmax(rates) == 0.3 * steps - 1
        assert max(rates) == pytest.approx(0.2)
        assert rates == sorted(rates[:6]) + sorted(rates[6:], reverse=True)
        assert rates[-1] < 1e-5


class TestEpochs:
    def test_it_learns_and_keeps_records(self):
        training = make_training(replace(RECIPE, epochs=6), train=200, val=50)
        seen = []
        while not training.finished:
            record = training.train_epoch(progress=seen.append)
            assert record is training.records[-1]
        assert [record["epoch"] for record in training.records] == [1, 2, 3, 4, 5, 6]
        assert sum(seen) == 6 * 200
        first, last = training.records[0], training.records[-1]
        assert last["loss"] < first["loss"]
        assert last["train_accuracy"] > 0.9
        assert last["val_accuracy"] > 0.9
        assert set(last) == {"epoch", "loss", "train_accuracy", "val_accuracy", "seconds"}

    def test_loss_and_accuracy_are_means_over_the_images_of_the_epoch(self):
        """Without learning, and without chance, they are those of the model as it is."""
        recipe = replace(RECIPE, learning_rate=1e-30, label_smoothing=0.0)
        training = make_training(recipe, nn.Sequential(nn.Flatten(), nn.Linear(768, 4)))
        training.augment = training.normalize
        images, labels = training.datasets["train"].__getitems__(range(50))
        scores = training.model(training.normalize(images))
        record = training.train_epoch()
        assert record["loss"] == pytest.approx(cross_entropy(scores, labels).item(), rel=1e-5)
        assert record["train_accuracy"] == pytest.approx((scores.argmax(1) == labels).float().mean().item())

    def test_every_epoch_has_an_order_of_its_own(self):
        training = make_training()
        names = {image.numpy().tobytes(): i for i, image in enumerate(training.datasets["train"].images)}
        step, order = training.step, []

        def watched_step(images, labels):
            order.extend(names[image.numpy().tobytes()] for image in images)
            return step(images, labels)

        training.step = watched_step
        training.train_epoch()
        training.train_epoch()
        first, second = order[:50], order[50:]
        assert sorted(first) == sorted(second) == list(range(50))
        assert first != second

    def test_a_loss_that_is_not_finite_ends_it_with_a_remedy(self):
        training = make_training(replace(RECIPE, learning_rate=1e20))
        with pytest.raises(
            FloatingPointError, match=r"no longer finite in epoch .*1e\+20\. Try one .* smaller"
        ):
            while not training.finished:
                training.train_epoch()


class TestMeasuring:
    def test_scores_are_those_of_evaluation_mode_in_order(self):
        training = make_training(train=50, val=13)
        training.train_epoch()
        training.model.train()
        before = {name: value.clone() for name, value in training.model.state_dict().items()}
        scores = training.predict(training.datasets["val"])
        assert scores.shape == (13, 4)
        training.model.eval()
        images = training.normalize(training.datasets["val"].images)
        mirrored = images[..., torch.arange(15, -1, -1)]
        expected = training.model(images) + training.model(mirrored)
        torch.testing.assert_close(scores, expected.detach())
        assert_equal(training.model.state_dict().values(), before.values())

    def test_accuracy_is_the_share_that_is_right(self):
        training = make_training(val=7)
        training.predict = lambda dataset: torch.eye(4)[[0, 1, 2, 3, 0, 1, 2]]
        training.datasets["val"].labels = torch.tensor([0, 1, 2, 3, 1, 2, 3])
        assert training.accuracy(training.datasets["val"]) == pytest.approx(4 / 7)


class TestState:
    def test_a_run_that_went_on_ends_to_the_bit_like_one_that_was_not_stopped(self):
        whole, first = make_training(), make_training()
        while not whole.finished:
            whole.train_epoch()
        first.train_epoch()
        state = first.state_dict()
        second = make_training()
        torch.manual_seed(5)  # whatever another process may have drawn
        second.load_state_dict(state)
        while not second.finished:
            second.train_epoch()
        assert len(second.records) == RECIPE.epochs
        assert_equal(whole.model.state_dict().values(), second.model.state_dict().values())
        for ours, theirs in zip(whole.records, second.records, strict=True):
            assert ours | {"seconds": 0} == theirs | {"seconds": 0}

    def test_the_seed_decides_the_run(self):
        ends = []
        for seed in (1, 1, 2):
            training = make_training(replace(RECIPE, seed=seed))
            training.train_epoch()
            ends.append(params_of(training))
        assert_equal(ends[0], ends[1])
        assert not torch.equal(ends[0][0], ends[2][0])


def train_a_while(rank, world_size, make_model):
    """Train on a process's share of the minibatches: the steps, an accuracy, and parameters at last."""
    torch.manual_seed(rank)  # the weights have to come from the first process
    training = Training(make_model(), make_datasets(), RECIPE, "cpu")
    training.augment = training.normalize
    start = params_of(training)
    for place in range(0, 48, 16):
        images, labels = training.datasets["train"].__getitems__(range(place, place + 16))
        training.step(images[rank::world_size], labels[rank::world_size])
    val_accuracy = training.accuracy(training.datasets["val"])
    steps = [after - before for before, after in zip(start, params_of(training), strict=True)]
    training.train_epoch()  # whole epochs go through, too
    return steps, val_accuracy, params_of(training)


def train_in_group(rank, world_size, folder):
    """A process of a group: it trains every model, and writes what came of it to a file."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world_size
    )
    torch.save([train_a_while(rank, world_size, make_model) for make_model in MODELS], f"{folder}/{rank}")
    distributed.destroy_process_group()


def plain_net():
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 14 * 14, 4))


def convnet_with_fixed_statistics():
    """On a CPU, batch normalization takes its statistics from a process's own share of the minibatch."""
    return ConvNet(4, width=0.25).eval()


MODELS = (plain_net, convnet_with_fixed_statistics)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """What came of each of MODELS in each of two processes, which take seconds to start."""
    folder = tmp_path_factory.mktemp("group")
    torch.multiprocessing.spawn(train_in_group, (2, folder), nprocs=2)
    return [torch.load(folder / str(rank)) for rank in (0, 1)]


@pytest.mark.parametrize("model", range(len(MODELS)), ids=lambda model: MODELS[model].__name__)
def test_two_processes_take_the_steps_of_one_with_the_joined_minibatch(two_processes, model):
    alone, accuracy, _ = train_a_while(0, 1, MODELS[model])
    found = [of_all[model] for of_all in two_processes]
    for together, same_accuracy, _ in found:
        for ours, theirs in zip(alone, together, strict=True):
            assert (ours - theirs).norm() < 1e-3 * ours.norm()
        assert accuracy == same_accuracy
    assert_equal(*(params for _, _, params in found))


def test_a_minibatch_that_cannot_be_shared_evenly_is_refused(monkeypatch):
    monkeypatch.setattr("cs231n.pytorch.training._place_in_group", lambda: (0, 3))
    with pytest.raises(
        ValueError, match=r"batch_size must be a multiple of the number of processes, 3, .* got 16"
    ):
        make_training()


@pytest.mark.parametrize(
    "cuda, mps, expected", [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_fastest_device_is_picked(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device().type == expected


@pytest.mark.parametrize("size", [(32, 32), (8, 8), (9, 14)], ids=str)
@pytest.mark.parametrize("width, classes", [(1, 10), (0.5, 3), (0.001, 2)])
def test_the_convnet_gives_a_score_for_every_class(size, width, classes):
    images = torch.randn(2, 3, *size)
    net = ConvNet(classes, width)
    before = images.clone()
    scores = net(images)
    assert (scores.shape, scores.dtype) == ((2, classes), torch.float32)
    assert torch.equal(images, before)
    scores.sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
