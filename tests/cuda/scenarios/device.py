"""Tests of the simulated CUDA devices themselves."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from tests.cuda.device import simulator


def test_devices_and_their_properties() -> None:
    assert torch.cuda.is_available()
    assert torch.cuda.device_count() == 2
    assert torch.cuda.get_device_properties(1).total_memory == torch.cuda.mem_get_info(1)[1]
    assert torch.cuda.get_device_capability() == (9, 0)
    assert torch.cuda.max_memory_allocated() == 0
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.cuda.set_device(2)


@pytest.mark.parametrize(
    "make",
    [
        lambda d: torch.tensor([1.0, 2.0], device=d), lambda d: torch.zeros(2, device=d),
        lambda d: torch.arange(2, device=d), lambda d: torch.full((2,), 0.5, device=d),
        lambda d: torch.eye(2, device=d), lambda d: torch.ones(2).to(d), lambda d: torch.linspace(0, 1, 3, device=d),
    ],
)  # fmt: skip
def test_factories_make_what_the_cpu_makes(make: object) -> None:
    assert callable(make)
    made, expected = make("cuda:1"), make("cpu")
    assert made.device == torch.device("cuda:1")
    assert made.tolist() == expected.tolist()


def test_gradients_are_those_of_the_cpu() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.GroupNorm(1, 2), torch.nn.Flatten())
    x = torch.rand(3, 4, 1, 5, 5)

    def gradients(device: str) -> list[Tensor]:
        params = {name: p.detach().to(device) for name, p in model.named_parameters()}

        def loss(weights: dict[str, Tensor], images: Tensor) -> Tensor:
            return (functional_call(model, weights, (images,)) ** 2 * images.mean()).sum()  # type: ignore[no-any-return]

        model.to(device)
        found = vmap(grad(loss), in_dims=(None, 0), randomness="error")(params, x.to(device))
        return [g.cpu() for g in found.values()]

    for expected, got in zip(gradients("cpu"), gradients("cuda"), strict=True):
        torch.testing.assert_close(got, expected)


def test_mixed_devices_are_refused() -> None:
    on_device = torch.ones(2, device="cuda:0")
    for other in (torch.ones(2), torch.ones(2, device="cuda:1")):
        with pytest.raises(RuntimeError, match="at least two devices"):
            on_device + other
    with pytest.raises(RuntimeError, match="at least two devices"):
        torch.stack([on_device[0], torch.tensor(1.0)])
    assert (on_device * torch.tensor(2.0)).tolist() == [2, 2]


def test_each_thread_begins_on_the_first_device() -> None:
    found = []
    with torch.cuda.device(1):
        assert torch.zeros(1, device="cuda").device.index == 1
        thread = threading.Thread(target=lambda: found.append(torch.zeros(1, device="cuda").device.index))
        thread.start()
        thread.join()
    assert found == [0]
    assert torch.cuda.current_device() == 0


@pytest.mark.parametrize(
    ("action", "waits"),
    [
        (lambda x, pinned: x.sum().item(), 1), (lambda x, pinned: x.cpu(), 1), (lambda x, pinned: x.nonzero(), 1),
        (lambda x, pinned: x[x > 0], 1), (lambda x, pinned: x.copy_(torch.ones(3)), 1),
        (lambda x, pinned: x.copy_(pinned), 1), (lambda x, pinned: x.copy_(pinned, non_blocking=True), 0),
        (lambda x, pinned: torch.cuda.synchronize(), 1), (lambda x, pinned: x.view(3, 1).expand(3, 2).sum(), 0),
    ],
)  # fmt: skip
def test_waits_are_counted_and_refused_in_a_capture(action: object, waits: int) -> None:
    assert callable(action)
    x, pinned = torch.zeros(3, device="cuda"), torch.ones(3).pin_memory()
    simulator.reset()
    action(x, pinned)
    assert simulator.waits.total() == waits
    graph = torch.cuda.CUDAGraph()
    if not waits:
        with torch.cuda.graph(graph):
            action(x, pinned)
        graph.replay()
        return
    with pytest.raises(RuntimeError, match="capture"), torch.cuda.graph(graph):
        action(x, pinned)
    # As in torch, a capture that fails leaves the process on the stream of the capture.
    assert torch.cuda.current_stream() != torch.cuda.default_stream()
    torch.cuda.set_stream(torch.cuda.default_stream())


def test_copies_without_a_wait_hold_nan() -> None:
    x, pinned = torch.zeros(2, device="cuda"), torch.ones(2).pin_memory()
    x.copy_(pinned, non_blocking=True)
    arriving = x.to("cpu", non_blocking=True)
    assert arriving.isnan().all()
    torch.cuda.synchronize()
    assert arriving.tolist() == [1, 1]
    x.copy_(pinned, non_blocking=True)
    pinned.zero_()
    with pytest.raises(RuntimeError, match="while a copy from it"):
        torch.cuda.synchronize()


def test_graph_replays_on_the_same_memory() -> None:
    state, rate, graph = torch.ones(2, device="cuda"), torch.tensor(2.0, device="cuda"), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=torch.cuda.graph_pool_handle()):
        doubled = state * rate
        state.copy_(torch.stack([doubled[0] + 1, torch.zeros((), device="cuda")]))
    state.fill_(1.0)
    for factor in (2.0, 3.0):
        rate.fill_(factor)
        graph.replay()
    assert state.tolist() == [10, 0]
    assert doubled.tolist() == [9, 0]
    assert simulator.captured[-1].scalars.total() == 0
    graph.reset()
    with pytest.raises(RuntimeError, match="without a preceding"):
        graph.replay()


def test_graph_keeps_scalars_and_skips_other_devices() -> None:
    x, scalar, graph = torch.ones(2, device="cuda:0"), torch.tensor(2.0), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = x * scalar
        torch.ones(2, device="cuda:1")
    scalar.fill_(5.0)
    graph.replay()
    assert y.tolist() == [2, 2]
    assert simulator.captured[-1].scalars.total() == 1
    assert simulator.captured[-1].elsewhere == {"cuda:1": 1}
    with pytest.warns(UserWarning, match="graph is empty|Graph is empty"), torch.cuda.graph(graph):
        torch.ones(2, device="cuda:1")
    with pytest.raises(RuntimeError, match="non-default stream"):
        graph.capture_begin()


def test_graphs_of_one_pool_share_their_memory() -> None:
    x, pool = torch.ones(2, device="cuda"), torch.cuda.graph_pool_handle()
    graphs, results = [torch.cuda.CUDAGraph() for _ in range(2)], []
    for graph in graphs:
        with torch.cuda.graph(graph, pool=pool):
            results.append(x + 1)
    assert results[0].isnan().all()
    for number, graph in enumerate(graphs):
        graph.replay()
        assert results[number].tolist() == [2, 2]
        assert results[1 - number].isnan().all()


def test_out_of_memory_at_an_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, allocated: int) -> None:
        if allocated > 1000:
            raise torch.OutOfMemoryError(f"CUDA out of memory in {name}")

    monkeypatch.setattr(simulator, "before_kernel", refuse)
    x = torch.zeros(100, device="cuda")
    x.add_(1)
    with pytest.raises(torch.OutOfMemoryError, match="in cat"):
        torch.cat([x, x, x])
