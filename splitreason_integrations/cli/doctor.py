"""`splitreason doctor`: check the installation and both models."""

import json
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from splitreason_integrations import blocking
from splitreason_integrations.backends.description import Role
from splitreason_integrations.cli import options
from splitreason_integrations.cli.printed_tables import print_table
from splitreason_integrations.doctor import (
    Finding,
    RuleFinding,
    examine_model,
    examine_packages,
    examine_rules,
    examine_teaching,
)
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.evals import report
from splitreason_integrations.humans.screen import Screen, echo


def doctor(
    small: options.Small = None,
    large: options.Large = None,
    api_key_env: options.ApiKeyEnv = None,
    as_json: options.AsJson = False,
) -> None:
    """Check models, here or on servers, with the calls that a request makes.

    Checks the named models, or the bundled pair if none is named. Of two models it also says
    whether they were taught to mark spans, which triggers and close rules work with them, and what
    is used where nothing is set. Exit status 2 if something
    required is missing or does not work.
    """
    findings = examine_packages()
    if small is None and large is None:
        small = large = "embedded"
    pair = options.keyed_specs(small, large, api_key_env)
    roles: tuple[Role, ...] = ("small", "large")
    for role, spec in zip(roles, pair, strict=True):
        if spec is not None:
            findings += blocking.iterate(examine_model(spec, role=role))
    rules: list[RuleFinding] = []
    if all(spec is not None for spec in pair) and all(finding.ok for finding in findings):
        findings += blocking.iterate(examine_teaching(*pair))
        if findings[-1].ok:
            rules = blocking.run(lambda: examine_rules(*pair))
    if as_json:
        rows = [asdict(finding) for finding in findings]
        found = {"findings": rows, "rules": [asdict(rule) for rule in rules]}
        echo(json.dumps({**found, **report.context("splitreason doctor")}))
    else:
        _show(findings)
        _show_rules(rules)
    wrong = sum(not finding.ok for finding in findings)
    if wrong:
        raise ConfigurationError(f"{wrong} of {len(findings)} checks failed")


def _show(findings: list[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        # Text objects, because names and server messages must not be parsed as markup.
        table.add_row(mark(finding), Text(finding.what), Text(finding.said))
    console = Screen()
    console.print(f"{report.hardware()}; {_versions()}", highlight=False)
    print_table(console, table)


def mark(finding: Finding) -> Text:
    """Return the mark of a finding: a dash for something optional that is missing."""
    if finding.optional:
        return Text("–")
    return Text("ok") if finding.ok else Text("wrong", "red")


def _show_rules(rules: list[RuleFinding]) -> None:
    if not rules:
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("rule", "", "works here"):
        table.add_column(heading)
    for rule in rules:
        said = Text(f"no: {rule.said}", "yellow") if rule.said else Text("yes")
        table.add_row(Text(rule.kind), Text(rule.rule), said)
    console = Screen()
    console.print()
    print_table(console, table)


def _versions() -> str:
    return ", ".join(f"{name} {found}" for name, found in report.versions().items())
