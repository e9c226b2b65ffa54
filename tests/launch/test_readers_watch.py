"""Tests the lines about readers and waiting workers during training."""

from mulan.data.batch_server import ReaderPoolState
from mulan.launch.readers_watch import ReadersStatus

ENOUGH = ReaderPoolState(active_cpus=8, requested_cpus=8, waiting=(), reading_locally=(), pool_exhausted=False)
SHORT = ReaderPoolState(active_cpus=3, requested_cpus=8, waiting=(1, 2, 5), reading_locally=(5,), pool_exhausted=True)
OTHERS = ReaderPoolState(active_cpus=4, requested_cpus=8, waiting=(1,), reading_locally=(1,), pool_exhausted=True)


def test_descriptions_of_the_reader_pool() -> None:
    assert str(ENOUGH) == "data: 8 of 8 CPUs"
    assert str(SHORT) == "data: 3 of 8 CPUs, waiting for nodes; worker 5 reads for itself; workers 1, 2 wait"
    assert str(OTHERS) == "data: 4 of 8 CPUs, waiting for nodes; worker 1 reads for itself"
    assert str(OTHERS._replace(pool_exhausted=False)) == "data: 4 of 8 CPUs, starting; worker 1 reads for itself"
    assert str(ENOUGH._replace(waiting=(3,))) == "data: 8 of 8 CPUs; worker 3 waits"


def test_waiting_and_its_end_are_reported_at_once_and_changes_periodically() -> None:
    status = ReadersStatus()
    assert status.new_line(ENOUGH, since_s=1000) is None
    assert status.new_line(SHORT, since_s=0) == str(SHORT)
    assert status.new_line(SHORT, since_s=1000) is None
    assert status.new_line(OTHERS, since_s=10) is None
    assert status.new_line(OTHERS, since_s=61) == str(OTHERS)
    assert status.new_line(ENOUGH, since_s=0) == "data: no worker is waiting any more"
    assert status.new_line(ENOUGH, since_s=1000) is None
