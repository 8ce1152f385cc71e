"""Adjusts the valid requests of scripts/schemathesis.sh before they are sent: a schema cannot express that a payload's id
equals the aggregate's, that an e-mail address contains an @, or that few aggregates get all events. Without these hooks a
rule would reject nearly every append, and nothing that follows an append would be tested."""

import schemathesis
from hypothesis import strategies
from schemathesis import GenerationMode

# schemathesis.toml lists the same ids for the reading operations.
USERS = [f"0195d6f0-0000-7000-8000-00000000000{n}" for n in range(1, 9)]

# Schemathesis builds header values of letters and digits only, unless their format is registered.
schemathesis.openapi.format("entity-tags", strategies.sampled_from(['*', '"1"', '"2", "x"', 'W/"1"', '""']))


@schemathesis.hook
def before_call(context, case, kwargs):
    generation = case.meta.generation.mode if case.meta else None
    if generation == GenerationMode.POSITIVE and case.path.endswith("/revert"):
        # Most generated versions and names of fields do not exist.
        if isinstance(case.body, dict):
            case.body["to_version"] = 1
            case.body.pop("except", None)
    elif generation == GenerationMode.POSITIVE and case.method == "POST" and case.path == "/projections":
        name_projection(case.body)
    elif generation == GenerationMode.POSITIVE and case.method == "POST":
        events = case.body if isinstance(case.body, list) else [case.body]
        for event in events:
            if isinstance(event, dict) and isinstance(event.get("id"), str):
                satisfy_rules(event)


def name_projection(verb):
    # No generated text is the name of a projection.
    if not isinstance(verb, dict):
        return
    for name in ("retry", "reproject", "preview", "cancel", "verify"):
        if name in verb:
            verb[name] = "users"
    if isinstance(verb.get("skip"), dict):
        verb["skip"]["domain"] = "users"


def satisfy_rules(event):
    # The values depend on the id, so that a repeated request is identical.
    chance = sum(event["id"].encode())
    # One in eight stays as generated.
    if chance % 8 == 0:
        return
    event["aggregate_id"] = user = USERS[chance % len(USERS)]
    payload = event.get("payload")
    if isinstance(payload, dict):
        good = {"id": user, "email": f"{chance}@example.org", "username": f"user {chance}", "password": "secret"}
        payload.update({name: value for name, value in good.items() if payload.get(name) is not None})
