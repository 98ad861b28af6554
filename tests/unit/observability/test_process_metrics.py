"""The process tells of itself what dashboards ask for."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from praefect.observability.metrics import Registry
from praefect.observability.process_metrics import BuildInfo, ProcessCollector, RuntimeCollector

NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")


def _values(registry: Registry) -> dict[str, float]:
    families = text_string_to_metric_families(registry.expose().decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


@NEEDS_PROC
def test_process_is_measured() -> None:
    values = _values(Registry(ProcessCollector()))
    assert 0 < values["process_start_time_seconds"] <= time.time() + 1
    assert values["process_resident_memory_bytes"] > 1 << 20
    assert values["process_virtual_memory_bytes"] > values["process_resident_memory_bytes"]
    assert values["process_cpu_seconds_total"] > 0
    assert 0 < values["process_open_fds"] <= values["process_max_fds"]
    assert values["process_virtual_memory_max_bytes"] > 0


def test_figures_are_read_from_the_right_places(tmp_path: Path) -> None:
    proc = tmp_path / "self"
    (proc / "net").mkdir(parents=True)
    (proc / "fd").mkdir()
    (proc / "fd" / "0").touch()
    fields = [str(number) for number in range(3, 53)]
    fields[19] = str(7 * os.sysconf("SC_CLK_TCK"))
    fields[20], fields[21] = "4096000", "25"
    (proc / "stat").write_text(f"17 (a (b) c) {' '.join(fields)}\n")
    (tmp_path / "stat").write_text("cpu 1 2 3\nbtime 1000\n")
    (proc / "net" / "netstat").write_text("TcpExt: A\nTcpExt: 1\nIpExt: X InOctets OutOctets\nIpExt: 5 70 90\n")
    values = _values(Registry(ProcessCollector(proc)))
    assert values["process_start_time_seconds"] == 1007
    assert values["process_virtual_memory_bytes"] == 4096000
    assert values["process_resident_memory_bytes"] == 25 * os.sysconf("SC_PAGE_SIZE")
    assert values["process_open_fds"] == 1
    assert values["process_network_receive_bytes_total"] == 70
    assert values["process_network_transmit_bytes_total"] == 90


def test_what_proc_does_not_tell_is_left_out(tmp_path: Path) -> None:
    values = _values(Registry(ProcessCollector(tmp_path / "none")))
    assert "process_open_fds" not in values
    assert "process_resident_memory_bytes" not in values
    assert "process_cpu_seconds_total" in values


async def test_runtime_counts_tasks_and_threads() -> None:
    values = _values(Registry(RuntimeCollector()))
    assert values["go_goroutines"] >= 1
    assert values["go_threads"] >= 1


def test_runtime_can_be_asked_without_a_loop() -> None:
    assert _values(Registry(RuntimeCollector()))["go_goroutines"] == 0


def test_build_is_named() -> None:
    page = Registry(BuildInfo(module_path="example.com/praefect", version="v1")).expose().decode()
    assert page.splitlines()[-1] == (
        f'gitlab_build_info{{go_version="python{platform.python_version()}",'
        'module_path="example.com/praefect",module_version="v1"} 1'
    )
