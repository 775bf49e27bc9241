"""FairQueue: a principal who floods the service waits for its own backlog, and nobody else does."""

import asyncio

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hsmkms.core.commands import Encrypt, GenerateBackingKey, Load, Random, Rewrap
from hsmkms.server.token.jobs import FairQueue, Job

FLOOD, MODEST = "flooding", "modest"


def job_of(principal, **known):
    """A job that nobody waits for: queues never look at the future."""
    return Job(Random(8), None, principal, **known)


def anything(_):
    return True


def one(queue, serves=anything):
    """The next job, or nothing."""
    return next(iter(queue.take(serves, 1)), None)


def taken(queue, count):
    return [job.principal for job in queue.take(anything, count)]


def test_the_modest_one_is_next_however_much_the_flooding_one_has_queued():
    queue = FairQueue(100)
    for _ in range(50):
        assert queue.push(job_of(FLOOD)) is None
    assert queue.push(job_of(MODEST)) is None
    assert taken(queue, 4) == [FLOOD, MODEST, FLOOD, FLOOD]


def test_principals_are_served_in_turn_and_each_in_its_own_order():
    queue = FairQueue(100)
    jobs = {name: [job_of(name) for _ in range(3)] for name in "abc"}
    for name in "abc":
        for job in jobs[name]:
            queue.push(job)
    served = queue.take(anything, 20)
    assert [job.principal for job in served] == list("abcabcabc")
    assert all([job for job in served if job.principal == name] == jobs[name] for name in "abc")
    assert one(queue) is None


def test_whoever_comes_again_goes_to_the_end_of_the_turn():
    queue = FairQueue(100)
    for name in "abab":
        queue.push(job_of(name))
    assert taken(queue, 1) == ["a"]
    queue.push(job_of("c"))
    assert taken(queue, 4) == ["b", "a", "c", "b"]


def test_a_job_that_this_worker_cannot_serve_does_not_stop_the_others():
    queue = FairQueue(100)
    queue.push(job_of("a", keys=frozenset({b"key nobody has"})))
    wanted = job_of("b")
    queue.push(wanted)
    assert one(queue, lambda keys: not keys) is wanted
    assert one(queue, lambda keys: not keys) is None
    assert len(queue) == 1


def test_what_is_taken_together_is_of_one_kind_and_each_principal_has_its_turn():
    queue = FairQueue(100)
    kinds = {
        "a": [Random(8), Random(8), Load(b""), Random(8)],
        "b": [Rewrap(None, b"", b"", None, b""), Random(8)],
        "c": [Random(8)],
    }
    jobs = {name: [Job(command, None, name) for command in commands] for name, commands in kinds.items()}
    for name in "abc":
        for job in jobs[name]:
            queue.push(job)
    assert queue.take(anything, 16) == [jobs["a"][0], jobs["c"][0], jobs["a"][1]]
    assert queue.take(anything, 16) == [jobs["b"][0]]
    assert queue.take(anything, 16) == [jobs["a"][2]], "what makes more than session objects is alone"
    assert queue.take(anything, 16) == [jobs["b"][1], jobs["a"][3]]


def test_a_job_that_a_worker_died_of_is_alone():
    queue = FairQueue(100)
    jobs = [job_of("a"), job_of("a", deaths=1), job_of("a")]
    for job in jobs:
        queue.push(job)
    assert [queue.take(anything, 16) for _ in range(4)] == [[jobs[0]], [jobs[1]], [jobs[2]], []]


def test_no_more_is_taken_than_was_asked_for():
    queue = FairQueue(100)
    for principal in "aabbb":
        queue.push(job_of(principal))
    assert [taken(queue, 2), taken(queue, 2), taken(queue, 2)] == [["a", "b"], ["a", "b"], ["b"]]


# Full


def test_when_it_is_full_the_longest_queue_gives_way_with_its_last_job():
    queue = FairQueue(4)
    flood = [job_of(FLOOD) for _ in range(4)]
    for job in flood:
        queue.push(job)
    modest = job_of(MODEST)
    assert queue.push(modest) is flood[-1]
    assert list(queue) == [*flood[:-1], modest]


def test_when_it_is_full_the_flooding_one_is_refused_and_displaces_nobody():
    queue = FairQueue(4)
    for principal in (FLOOD, FLOOD, FLOOD, MODEST):
        queue.push(job_of(principal))
    one_more = job_of(FLOOD)
    assert queue.push(one_more) is one_more
    assert len(queue) == 4


def test_equal_shares_displace_nobody():
    queue = FairQueue(4)
    for principal in "abab":
        queue.push(job_of(principal))
    for principal in "ab":
        refused = job_of(principal)
        assert queue.push(refused) is refused
    newcomer = job_of("c")
    displaced = queue.push(newcomer)
    assert displaced.principal == "a"
    assert newcomer in list(queue)


def test_a_queue_in_which_each_has_one_job_refuses_the_newcomer():
    queue = FairQueue(3)
    for principal in "abc":
        queue.push(job_of(principal))
    newcomer = job_of("d")
    assert queue.push(newcomer) is newcomer


# Back, and away


def test_a_job_put_back_is_its_principals_next_even_over_capacity():
    queue = FairQueue(2)
    first, second, third = (job_of("a") for _ in range(3))
    queue.push(first)
    assert one(queue) is first
    queue.push(second)
    queue.push(third)
    queue.push_front(first)
    assert len(queue) == 3
    assert queue.take(anything, 3) == [first, second, third]


def test_a_job_whose_caller_is_gone_is_taken_out_once():
    queue = FairQueue(10)
    stays, goes = job_of("a"), job_of("a")
    queue.push(stays)
    queue.push(goes)
    for _ in range(2):
        queue.discard(goes)
        assert list(queue) == [stays]
    queue.discard(job_of("nobody"))
    queue.discard(stays)
    assert len(queue) == 0
    assert one(queue) is None


def test_a_job_equals_itself_alone():
    queue = FairQueue(10)
    queue.push(job_of("a"))
    queue.discard(job_of("a"))
    assert len(queue) == 1


def test_drained_it_is_empty_and_of_use_again():
    queue = FairQueue(2)
    jobs = [job_of("a"), job_of("b")]
    for job in jobs:
        queue.push(job)
    assert queue.drain() == jobs
    assert (len(queue), list(queue), queue.drain()) == (0, [], [])
    assert queue.push(jobs[0]) is None
    assert one(queue) is jobs[0]


class AnyHistory(RuleBasedStateMachine):
    """Whatever is done in whatever order: no job is lost, none is there twice, and the length is right."""

    @initialize(capacity=st.integers(1, 6))
    def begin(self, capacity):
        self.capacity, self.queue, self.inside, self.outside = capacity, FairQueue(capacity), [], []

    @rule(principal=st.sampled_from("abc"))
    def push(self, principal):
        job = job_of(principal, keys=frozenset(principal))
        before = len(self.queue)
        self.inside.append(job)
        displaced = self.queue.push(job)
        assert (displaced is None) == (before < self.capacity)
        if displaced is not None:
            self.inside.remove(displaced)
            lengths = [sum(job.principal == name for job in self.inside) for name in "abc"]
            assert sum(job.principal == displaced.principal for job in self.inside) >= max(lengths) - 1

    @rule(served=st.sets(st.sampled_from("abc")))
    def pop(self, served):
        job = one(self.queue, lambda keys: keys <= served)
        assert (job is None) == (not any(job.principal in served for job in self.inside))
        if job is not None:
            assert job is next(other for other in self.queue_order(job.principal))
            self.inside.remove(job)
            self.outside.append(job)

    def queue_order(self, principal):
        return (job for job in self.inside if job.principal == principal)

    @precondition(lambda self: self.outside)
    @rule()
    def push_front(self):
        job = self.outside.pop()
        self.inside.insert(0, job)
        self.queue.push_front(job)

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def discard(self, data):
        job = data.draw(st.sampled_from(self.inside))
        self.inside.remove(job)
        self.queue.discard(job)

    @invariant()
    def it_holds_exactly_what_it_should(self):
        held = list(self.queue)
        assert len(held) == len(self.queue) == len(self.inside)
        assert {id(job) for job in held} == {id(job) for job in self.inside}


TestAnyHistory = AnyHistory.TestCase


# Jobs


@pytest.mark.parametrize(
    ("command", "budget", "session_only"),
    [
        (Random(8), 5.0, True),
        (Rewrap(None, b"", b"", None, b""), 5.0, True),
        (Encrypt(None, b"", b"", b""), 5.0, True),
        (Load(b""), 30.0, False),
        (GenerateBackingKey(b"", 1, b""), 60.0, False),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_command_says_how_long_it_may_take_and_whether_it_may_be_repeated(command, budget, session_only):
    job = Job(command, asyncio.get_running_loop().create_future(), "a")
    assert (job.budget_s, job.session_only) == (budget, session_only)
