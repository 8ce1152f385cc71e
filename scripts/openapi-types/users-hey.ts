// The types of hey-api: the event that a client sends has the password, the row that it reads has none.
import type { UsersEvent, UsersEventCreated, UsersRow } from "./users.hey";

const ids = { id: "0195d6f0-0000-7000-8000-000000000001", aggregate_id: "0195d6f0-0000-7000-8000-000000000002" };
const payload = { id: ids.aggregate_id, username: "ada", email: "ada@example.org" };

export const created: UsersEventCreated = { ...ids, type_id: 1000, payload: { ...payload, password: "correct horse" } };
export const without: UsersEvent = { ...ids, type_id: 1000, payload };
// @ts-expect-error: a number is no password.
export const wrong: UsersEvent = { ...ids, type_id: 1000, payload: { ...payload, password: 5 } };
// @ts-expect-error: a row does not contain the password.
export const password = (row: UsersRow) => row.password;
