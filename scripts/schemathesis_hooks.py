"""What scripts/schemathesis.sh does to good requests before they are sent: a schema cannot say that a payload's id is the
aggregate's, that an e-mail address has an @, or which few aggregates to write to. Without it nearly every append would
be refused by a rule, and nothing of what comes after an append would ever be seen."""

import schemathesis
from schemathesis import GenerationMode

# Also in schemathesis.toml, for reading.
USERS = [f"0195d6f0-0000-7000-8000-00000000000{n}" for n in range(1, 9)]


@schemathesis.hook
def before_call(context, case, kwargs):
    generation = case.meta.generation.mode if case.meta else None
    if generation == GenerationMode.POSITIVE and case.method == "POST":
        events = case.body if isinstance(case.body, list) else [case.body]
        for event in events:
            if isinstance(event, dict) and isinstance(event.get("id"), str):
                mend(event)


def mend(event):
    # The id decides, so that a request that is sent again is the same.
    chance = sum(event["id"].encode())
    # Some stay as they were made up.
    if chance % 8 == 0:
        return
    event["aggregate_id"] = user = USERS[chance % len(USERS)]
    payload = event.get("payload")
    if isinstance(payload, dict):
        good = {"id": user, "email": f"{chance}@example.org", "username": f"user {chance}", "password": "secret"}
        payload.update({name: value for name, value in good.items() if payload.get(name) is not None})
