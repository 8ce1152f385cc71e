// The events of the example domain are a union that `type_id` discriminates.
import type { components, operations, paths } from "./users.gen";

type Schemas = components["schemas"];
type UserEvent = Schemas["users.event"];

export function describe(event: UserEvent): string {
    switch (event.type_id) {
        case 1000:
            return `${event.payload.username} <${event.payload.email}>`;
        case 1001:
            return event.payload.password.replace(/./g, "*");
        case 1002:
            // @ts-expect-error: a `UsernameChanged` has no e-mail address.
            return event.payload.email;
        case 1003:
            return event.payload.email;
        case 1004:
            return event.payload.id ?? event.aggregate_id;
        case 1006:
            return `${event.payload.username} <${event.payload.email}>`;
        default: {
            const never: never = event;
            return never;
        }
    }
}

const ids = { id: "0195d6f0-0000-7000-8000-000000000001", aggregate_id: "0195d6f0-0000-7000-8000-000000000002" };

export const renamed: UserEvent = { ...ids, type_id: 1002, payload: { username: "ada" } };
// @ts-expect-error: the payload of another event type.
export const wrongPayload: UserEvent = { ...ids, type_id: 1002, payload: { email: "ada@example.org" } };
// @ts-expect-error: no event has this type id.
export const wrongType: UserEvent = { ...ids, type_id: 1999, payload: { username: "ada" } };

type Page = operations["list_users"]["responses"][200]["content"]["application/json"];
export const names = (page: Page): string[] => page.result.map((row) => row.username);
// @ts-expect-error: a row does not contain the password.
export const password = (page: Page) => page.result[0]?.password;

type Body = paths["/users"]["post"]["requestBody"]["content"]["application/json"];
export const many: Body = [renamed];

type Conflict = operations["append_users"]["responses"][409]["content"]["application/problem+json"];
export const index = (problem: Conflict): number | undefined =>
    problem.type === "urn:foldlog:problem:id-reused" ? problem.index : undefined;
