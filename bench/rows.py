"""The rows of scripts/bench all: what is measured, in which scene, how it is shown, what is to be reached, and, where it
is not, why."""

from dataclasses import dataclass

from bounds import Bound, at_most
from scenes import Idle, Killed, Many, Million, Secured, Small, Watched

NOT_ANALYSED = "not analysed"


def plain(number, _more):
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:,.2f}" if abs(number) < 10 else f"{number:,.1f}"


def memory(_number, more):
    def text(of):
        return f"{of['resident_mb']:,.0f}" + (f" + {of['database_mb']:,.0f}" if of["database_mb"] else "")

    return f"{text(more)} (restarted: {text(more['restarted'])})"


def tail(number, more):
    return f"{number:,.1f} ({more['p999_ms']:,.1f} / {more['p50_ms']:,.2f} ms)"


def many(number, more):
    few = sum(each["rate"] for each in more["few"]) / 2
    return f"{number:,.0f} ({more['many']['rate']:,.0f} / {few:,.0f})"


def secured(number, more):
    return f"{number:,.0f} ({more['tls']:,.0f} / {more['plain']:,.0f})"


@dataclass(frozen=True)
class Row:
    """`measure` is a scene's; `title` names sizes of a run. `reason`: why it is not reached, found by a profile."""
    name: str
    title: str
    unit: str
    scene: type
    measure: object
    bounds: tuple
    systems: tuple = ("conclave", "etcd")
    show: object = plain
    reason: str = NOT_ANALYSED


ROWS = (
    Row("range-leader", "linearizable Range of one key, 256 in flight, to the leader", "requests/s", Small,
        lambda scene: scene.rate("Range, linearizable"), (Bound(10, "etcd"),)),
    Row("range-follower", "the same, to a follower", "requests/s", Small,
        lambda scene: scene.rate("Range, linearizable", follower=True), (Bound(10, "etcd"),)),
    Row("range-serializable", "serializable Range, 256 in flight", "requests/s", Small,
        lambda scene: scene.rate("Range, serializable"), (Bound(10, "etcd"),)),
    Row("put", "Put, 256 in flight over 8 connections, 256 B values", "requests/s", Small,
        lambda scene: scene.rate("Put"), (Bound(10, "etcd"), Bound(1, "redis")),
        reason="the members' CPU (next row), on two cores that the load generator needs too"),
    Row("put-cpu", "CPU of all members per Put, 256 in flight", "us", Small, Small.put_cpu, (at_most(8),),
        reason="HTTP/2 in nghttp2 is 1.6 us of it, the kernel 4 to 5 us; the rest is spread thin"),
    Row("put-alone", "Put, one client, p50", "us", Small, Small.put_alone, (at_most(1.6, "floor"), at_most(0.5, "etcd")),
        reason="five threads in a row are woken, 20 to 40 us each, and three members sync one disk"),
    Row("memory", "memory for {keys:,} keys of 64 B, values of 256 B; etcd: resident + database file", "MB", Million,
        Million.memory, (at_most(420),), show=memory,
        reason="the store alone takes 413 to 422 MB; log of up to an eighth of that is kept for followers that are behind"),
    Row("restart", "restart of a member with {keys:,} keys, until it is healthy", "s", Million, Million.restart,
        (at_most(0.5, "etcd"),)),
    Row("put-random", "Put, random keys over {keys:,}, 256 in flight", "requests/s", Million, Million.random_put,
        (Bound(8, "etcd"),),
        reason="a random key of a million costs each member 0.8 us in the store, mostly cache misses, and one key alone 0.2"),
    Row("put-tail", "p99.9 / p50 of Put at half of the maximum rate, while snapshots, compactions and log rotation run",
        "x", Million, Million.tail, (at_most(10),), show=tail,
        reason="members write their snapshots, one after the other, on the two cores that requests and their load generator need too"),
    Row("watch-idle", "memory for each of {idle:,} idle watches; etcd: of {idle_peer:,}", "B", Idle, Idle.memory, (at_most(200),)),
    Row("watch-events", "one key, {watchers:,} watchers", "events/s", Watched, Watched.events, (Bound(5, "etcd"),),
        reason="within what single rounds differ by"),
    Row("fail-over", "SIGKILL of the leader, until the next acknowledged write of a client that retries, median", "ms",
        Killed, Killed.fail_over, (at_most(300),)),
    Row("tls", "Put, 256 in flight, with TLS: rate, of that without", "%", Secured, Secured.put_ratio, (Bound(70),),
        show=secured),
    Row("keys-many", "Put, random keys of 16 B over {many:,}, values of 64 B: rate, of that over {few:,}", "%", Many, Many.put_ratio,
        (Bound(85),), systems=("conclave",), show=many,
        reason="a random key of ten million costs each member 1.1 us in the store, mostly cache misses, and one of ten thousand 0.3"),
)
