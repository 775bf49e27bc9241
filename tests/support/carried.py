"""A token pool for the carrier's tests: it keeps what is posted, and answers when the test says so."""

from hsmkms.core.commands import Outcome, Result


class Pool:
    """Keeps what is posted; the test answers."""

    capacity = 1000

    def __init__(self):
        self.jobs = []
        self.posts = []
        self.withdrawn = []
        self.room = 10**6

    def post(self, jobs):
        self.posts.append(len(jobs))
        for job in jobs:
            if len(self.jobs) < self.room:
                self.jobs.append(job)
            else:
                job.give_way(job)

    def withdraw(self, job):
        self.withdrawn.append(job)

    def answer(self, *jobs):
        for job in jobs or tuple(self.jobs):
            self.jobs.remove(job)
            if not job.waiter.done():
                job.waiter.set_result(Result(Outcome.OK, str(job.command.length).encode()))
