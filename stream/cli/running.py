"""`memberstream worker`, `local` and `demo`: what runs."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from memberstream.stream.cli.console import check_libraries, serve_console
from memberstream.stream.settings import Settings, variable
from memberstream.stream.terminal.output import (
    CommandError,
    err,
    out,
    print_json,
    reports_errors,
    set_up_logging,
    settings,
    settings_of_a_worker,
)
from memberstream.stream.wire.endpoint import parse_url

log = logging.getLogger(__name__)
N_PARTITIONS = 4  # of the topics that `local` and `demo` create: enough for several workers, and not too much for one


Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="log what Faust and aiokafka tell of their inner workings, too")
]


JsonLog = Annotated[bool, typer.Option("--json", help="log in JSON, as with MEMBERSTREAM_LOG_FORMAT=json")]


@reports_errors
def worker(verbose: Verbose = False, json: JsonLog = False) -> None:
    """Run a worker in the foreground. It is set up by environment variables (docs/operations.md)."""
    configuration = settings_of_a_worker(json=json)  # first, so that a wrong variable is reported at once
    from memberstream.stream.worker import run_worker  # Faust is slow to import; other commands don't need it

    run_to_the_end(run_worker, configuration, configuration.topic, configuration.group, verbose=verbose)


def run_to_the_end(
    run: Callable[[Settings], int], configuration: Settings, topic: str, group: str, *, verbose: bool
) -> NoReturn:
    """Run a worker of a topic in the foreground. Ends this process with the worker's status."""
    from memberstream.stream.faust_batch import StartError, UnsupportedVersion
    from memberstream.stream.faust_batch.data_dir import DataDirInUse

    set_up_logging(configuration.log_format, verbose=verbose)
    log.info(
        "memberstream %s: reads %s at Kafka %s in group %s, writes %s* to Redis %s",
        version("memberstream"), topic, configuration.kafka, group, configuration.keys.prefix + ":",
        parse_url(configuration.redis_url),
    )  # fmt: skip
    try:
        status = run(configuration)
    except (StartError, UnsupportedVersion, DataDirInUse) as error:
        if configuration.log_format != "json":
            raise CommandError(str(error)) from None
        log.error("%s", error)
        sys.exit(1)
    except Exception:
        if configuration.log_format != "json":
            raise
        log.exception("this worker ends by an error")  # its last words are a record, too
        sys.exit(1)
    sys.exit(status)


@reports_errors
def local(
    kafka_port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free port")] = 9092,
    redis_port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free port")] = 6379,
    json: Annotated[bool, typer.Option("--json", help="print the settings as one JSON object")] = False,
) -> None:
    """Run the embedded Kafka-compatible broker and Valkey in the foreground; both forget everything when they end."""
    from memberstream.stream.kafka.clients import Kafka
    from memberstream.stream.kafka.topics import create_topic
    from memberstream.stream.local.embedded import EmbeddedKafka, EmbeddedValkey
    from memberstream.stream.local.server_process import ServerError

    _stop_on_sigterm()
    try:
        with EmbeddedKafka(kafka_port or None) as kafka, EmbeddedValkey(redis_port or None) as valkey:
            for topic in (settings().topic, settings().interactions_topic):
                asyncio.run(create_topic(Kafka((kafka.bootstrap,)), topic, N_PARTITIONS))
            where = {variable("kafka_bootstrap"): kafka.bootstrap, variable("redis_url"): valkey.url}
            what = {variable("broker_kind"): "embedded", variable("replication_factor"): "1"}
            if json:
                print_json(where | what)
            else:
                for variables in (where, what):
                    out.print("export", *(f"{name}={value}" for name, value in variables.items()))
            err.print("both run until Ctrl-C. Next: set these variables in other terminals, then memberstream worker")
            signal.pause()
    except ServerError as error:
        raise CommandError(str(error)) from None
    except KeyboardInterrupt:
        err.print("stopped: both servers have forgotten everything")


@reports_errors
def demo(
    json: Annotated[bool, typer.Option("--json", help="one JSON object; all else on standard error")] = False,
    console: Annotated[
        bool, typer.Option("--console", help="then serve the console on what is there, until Ctrl-C")
    ] = False,
    boosted: Annotated[
        bool, typer.Option("--boosted", help="with boosted trees as a third model; its figures aren't the demo's")
    ] = False,
) -> None:
    """Score 23,570 real customers from 69,659 purchases, with everything started here and stopped at the end."""
    from memberstream.stream.demo.campaign import shown_campaign
    from memberstream.stream.demo.run import run_demo
    from memberstream.stream.local.server_process import ServerError

    if console:
        check_libraries()  # a minute later it would be too late
    _stop_on_sigterm()

    def open_console(settings: Settings) -> None:
        with shown_campaign(settings):
            serve_console(settings, port=0, to=err if json else out)

    try:
        run_demo(json=json, boosted=boosted, then=open_console if console else None)
    except ServerError as error:
        raise CommandError(str(error)) from None
    except KeyboardInterrupt:
        err.print("\nstopped; nothing is left running")
        raise typer.Exit(130) from None


def _stop_on_sigterm() -> None:
    """Let SIGTERM end a command like Ctrl-C: everything that it started is stopped."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
