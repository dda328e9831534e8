"""PPO: advantages and loss against their definitions, and rollouts that do not depend on the number of workers."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium")

from hvdtrain.data.encoders import EnvironmentEncoder
from hvdtrain.data.environments import EVALUATION, Environments, episode_seed
from hvdtrain.data.prepare_environments import prepare_environments
from hvdtrain.data.sources import gymnasium as source
from hvdtrain.errors import CheckpointError, DataError, RecipeError
from hvdtrain.models import actor_critic
from hvdtrain.tasks import ppo
from hvdtrain.tasks._rollouts import RolloutLoader
from hvdtrain.tasks._stepping import advantages

DATA = source.Config(environments=4, eval_episodes=6)
ENCODER = EnvironmentEncoder(environment="CartPole-v1", observation=4, class_names=("action 0", "action 1"))


def model(seed: int = 3) -> torch.nn.Module:
    torch.manual_seed(seed)
    built = actor_critic.build(actor_critic.Config(hidden=[8]), ppo.build(ppo.Config(), ENCODER).spec)
    for p in built.parameters():
        torch.nn.init.normal_(p, std=0.5)  # not the nearly uniform policy of the beginning
    return built


class Alone:
    """A world in which this process is one of several, and knows the sums of all of them beforehand."""

    def __init__(self, rank: int, size: int, sums: list[list[float]] | None = None) -> None:
        self.rank, self.size = rank, size
        self.sums = sums
        self.seen: list[list[float]] = []

    def start_sum(self, values: torch.Tensor, name: str) -> Any:
        self.seen.append(values.tolist())
        known = values if self.sums is None else torch.tensor(self.sums[len(self.seen) - 1], dtype=torch.float64)
        return SimpleNamespace(wait=lambda: known)

    def gather(self, value: Any) -> list[Any]:
        return [json.loads(json.dumps(value))]


def loader(
    world: Alone, config: ppo.Config | None = None, batch: int = 32, micro: int = 8, seed: int = 5
) -> RolloutLoader:
    return RolloutLoader(
        config or ppo.Config(rollout_steps=64, epochs=2),
        data=prepare_environments(DATA, 0),
        model=model(),
        world=world,  # type: ignore[arg-type]
        device=torch.device("cpu"),
        seed=seed,
        epochs=None,
        global_batch_size=batch,
        micro_batch_size=micro,
    )


def rows(batches: list[dict[str, torch.Tensor]]) -> set[tuple[float, ...]]:
    """The transitions of micro batches, rounded to what two batch sizes of one matrix product agree on."""
    found = set()
    for batch in batches:
        for index in range(len(batch["actions"])):
            names = ("observations", "actions", "log_probs", "advantages", "returns")
            found.add(tuple(round(float(v), 3) for name in names for v in batch[name][index].flatten()))
    return found


def test_advantages_are_the_discounted_sums_of_temporal_differences() -> None:
    random = np.random.default_rng(0)
    length, gamma, decay = 7, 0.9, 0.8
    kept = {name: random.normal(size=(length, 1)) for name in ("rewards", "values")}
    kept["ended"] = np.array([0, 0, 1, 0, 0, 0, 0.0])[:, None]
    last = np.array([0.3])
    values = [*kept["values"][:, 0], last[0]]
    expected = []
    for start in range(length):
        total, factor = 0.0, 1.0
        for step in range(start, length):
            follows = 0.0 if kept["ended"][step, 0] else values[step + 1]
            total += factor * (kept["rewards"][step, 0] + gamma * follows - values[step])
            factor *= gamma * decay
            if kept["ended"][step, 0]:
                break
        expected.append(total)
    np.testing.assert_allclose(advantages(kept, last, gamma, decay)[:, 0], expected, rtol=1e-5)


def test_the_loss_is_that_of_the_paper() -> None:
    config = ppo.Config(clip=0.2, value_coefficient=0.7, entropy_coefficient=0.05)
    net = model()
    observations = torch.randn(9, 4)
    logits, values = (output.detach() for output in net(observations))
    actions = torch.randint(2, (9,))
    old, gained, returns = torch.randn(9) * 0.3 - 0.7, torch.randn(9), torch.randn(9)
    expected = 0.0
    for i in range(9):
        p = torch.softmax(logits[i], 0)
        ratio = float(p[actions[i]]) / float(old[i].exp())
        surrogate = min(ratio * float(gained[i]), max(0.8, min(1.2, ratio)) * float(gained[i]))
        entropy = -sum(float(q) * float(q.log()) for q in p)
        expected += -surrogate + 0.7 * 0.5 * (float(values[i]) - float(returns[i])) ** 2 - 0.05 * entropy
    batch = {
        "observations": observations,
        "actions": actions,
        "log_probs": old,
        "advantages": gained,
        "returns": returns,
    }
    task = ppo.build(config, ENCODER)  # type: ignore[arg-type]
    assert task.phases[0].loss(net, batch).item() == pytest.approx(expected, rel=1e-5)


def test_the_first_ratio_is_one_under_autocast() -> None:
    """Without value and entropy the loss is minus the sum of ratio times advantage; a ratio in bf16 begins 1 % off."""
    config = ppo.Config(rollout_steps=64, epochs=2, value_coefficient=0, entropy_coefficient=0)
    task = ppo.build(config, ENCODER)  # type: ignore[arg-type]
    [batch, *_] = next(loader(Alone(0, 1), config))
    for one in range(len(batch["actions"])):
        with torch.autocast("cpu", torch.bfloat16):
            alone = {name: tensor[one : one + 1] for name, tensor in batch.items()} | {"advantages": torch.ones(1)}
            loss = task.phases[0].loss(model(), alone)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(-1.0, abs=1e-6)


def test_two_workers_together_see_what_one_sees() -> None:
    whole = Alone(0, 1)
    one = loader(whole)
    batches = [next(one) for _ in range(20)]  # more than the 16 batches of a rollout
    halves = [loader(Alone(rank, 2, sums=whole.seen)) for rank in (0, 1)]
    for expected in batches:
        parts = [next(half) for half in halves]
        assert [sum(len(b["actions"]) for b in part) for part in parts] == [16, 16]
        assert rows(parts[0]) | rows(parts[1]) == rows(expected)
        assert not rows(parts[0]) & rows(parts[1])


def test_every_transition_of_a_rollout_is_used_once_an_epoch() -> None:
    dealt = loader(Alone(0, 1))
    first, second = ([b for _ in range(8) for b in next(dealt)] for _ in range(2))
    assert len(rows(first)) == 64 * 4
    assert rows(first) == rows(second)
    assert rows([first[0]]) != rows([second[0]])


def test_advantages_are_standardised_over_all() -> None:
    dealt = loader(Alone(0, 1))
    gained = torch.cat([b["advantages"] for _ in range(8) for b in next(dealt)])
    assert float(gained.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(gained.std(unbiased=False)) == pytest.approx(1.0, abs=1e-4)


def test_an_episode_that_a_time_limit_cuts_off_goes_on_by_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """CartPole can't fall in five steps, so each episode here is cut off; what was to come is not nothing."""
    import gymnasium

    monkeypatch.setattr(Environments, "make", lambda self: gymnasium.make(self.name, max_episode_steps=5))
    dealt = loader(Alone(0, 1), ppo.Config(rollout_steps=64, epochs=2, gamma=0.9, gae_lambda=1.0))
    next(dealt)
    environment = gymnasium.make("CartPole-v1")
    for number in range(4):
        for episode in range(2):
            environment.reset(seed=episode_seed(5, number, episode))
            steps = slice(5 * episode, 5 * episode + 5)
            for action in dealt._rollout["actions"][steps, number]:
                final = environment.step(int(action))[0]
            value = float(model()(torch.from_numpy(final)[None])[1].detach())
            expected = [sum(0.9**k for k in range(left)) + 0.9**left * value for left in (5, 4, 3, 2, 1)]
            np.testing.assert_allclose(dealt._rollout["returns"][steps, number], expected, rtol=1e-4)


@pytest.mark.parametrize("taken", [0, 3, 16, 21])
def test_a_state_goes_on_where_it_was_taken(taken: int) -> None:
    dealt = loader(Alone(0, 1))
    for _ in range(taken):
        next(dealt)
    state = json.loads(json.dumps(dealt.state_dict()))
    again = loader(Alone(0, 1))
    again.load_state_dict(state)
    for _ in range(20):
        for mine, theirs in zip(next(again), next(dealt), strict=True):
            for name, tensor in mine.items():
                assert torch.equal(tensor, theirs[name]), name
    assert again.position == dealt.position == (taken + 20) * 32


def test_a_state_of_other_environments_is_refused() -> None:
    state = loader(Alone(0, 1)).state_dict()
    with pytest.raises(CheckpointError, match="4 environments and seed 5, this run 4 and 6"):
        loader(Alone(0, 1), seed=6).load_state_dict(state)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"rollout_steps": 32}, "task.rollout_steps was 64 and is 32 now; resume with task.rollout_steps=64"),
        ({"epochs": 3}, "task.epochs was 2 and is 3 now"),
        ({"batch": 64}, "train.global_batch_size was 32 and is 64 now"),
    ],
)
def test_a_state_in_the_middle_of_another_rollout_is_refused(changes: dict[str, int], complaint: str) -> None:
    state = json.loads(json.dumps(loader(Alone(0, 1)).state_dict()))
    batch = changes.pop("batch", 32)
    other = loader(Alone(0, 1), ppo.Config(**{"rollout_steps": 64, "epochs": 2} | changes), batch=batch)
    with pytest.raises(CheckpointError, match=complaint):
        other.load_state_dict(state)


def test_a_model_without_policy_and_value_is_refused() -> None:
    network, task = torch.nn.Linear(4, 2), ppo.build(ppo.Config(), ENCODER)  # type: ignore[arg-type]
    batch = prepare_environments(DATA, 0).train.batch(np.arange(2))
    expected = r"ppo: needs a model that gives a policy and a value.*\(Linear\) does not; take .*actor_critic"
    with pytest.raises(RecipeError, match=expected):
        task.phases[0].loss(network, batch)
    with pytest.raises(RecipeError, match=expected):
        task.evaluate(network, {"episode": torch.arange(2)})
    with pytest.raises(RecipeError, match=expected):
        task.predict(network, {"inputs": torch.zeros(1, 4)})


def test_what_does_not_fit_is_refused_with_what_does() -> None:
    with pytest.raises(
        RecipeError, match=r"not a multiple of 3 workers; use data.environments=3 or data.environments=6"
    ):
        loader(Alone(0, 3))
    with pytest.raises(RecipeError, match=r"4 environments times a divisor of task.rollout_steps 64, such as 32"):
        loader(Alone(0, 1), batch=36)
    with pytest.raises(DataError, match="did you mean 'CartPole-v1'"):
        Environments("CartPol-v1", 1, 1).make()
    with pytest.raises(DataError, match="expected discrete actions"):
        Environments("Pendulum-v1", 1, 1).make()


def test_an_evaluation_plays_every_episode_with_the_likeliest_actions() -> None:
    import gymnasium

    net, task = model(), ppo.build(ppo.Config(), ENCODER)  # type: ignore[arg-type]
    returns = []
    for episode in range(3):
        environment = gymnasium.make("CartPole-v1")
        seen, _ = environment.reset(seed=episode_seed(0, EVALUATION, episode))
        total, over = 0.0, False
        while not over:
            action = int(net(torch.from_numpy(seen))[0].argmax())
            seen, reward, ended, cut, _ = environment.step(action)
            total, over = total + float(reward), ended or cut
        returns.append(total)
    with torch.inference_mode():
        sums = task.evaluate(net, {"episode": torch.arange(3)})
    found = task.metrics({name: value.double() for name, value in sums.items()})  # type: ignore[union-attr]
    assert found["mean_return"] == pytest.approx(np.mean(returns))
    assert found["return_spread"] == pytest.approx(np.std(returns))


def test_the_test_part_has_episodes_that_no_checkpoint_was_chosen_by() -> None:
    data = prepare_environments(DATA, 0)
    assert data.test is not None
    val, test = (part.batch(np.array([0, 5]))["episode"].tolist() for part in (data.val, data.test))
    assert len(data.val) == len(data.test) == 6
    assert (val, test) == ([0, 5], [6, 11])


def test_a_random_policy_is_the_mark_beneath() -> None:
    marks = prepare_environments(source.Config(eval_episodes=50), 0).references["mean_return"]
    assert marks["solved"] == 475
    assert 15 < marks["random policy"] < 30  # 22 is known


def test_the_mark_of_a_random_policy_is_of_the_test_parts_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is played once, however often it is asked for."""
    import gymnasium

    config = source.Config(eval_episodes=7)
    mark = prepare_environments(config, 0).references["mean_return"]["random policy"]
    environment, returns = gymnasium.make("CartPole-v1"), []
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence(EVALUATION)))
    for episode in range(7, 14):
        environment.reset(seed=episode_seed(0, EVALUATION, episode))
        total, over = 0.0, False
        while not over:
            _, reward, ended, cut, _ = environment.step(int(draw.random() * 2))
            total, over = total + float(reward), ended or cut
        returns.append(total)
    assert mark == pytest.approx(np.mean(returns))
    monkeypatch.setattr("hvdtrain.data.prepare_environments.random_return", None)
    assert prepare_environments(config, 1).references["mean_return"]["random policy"] == mark
