// Enums, maps, tuples, options, UUIDs, times, nested types and secrets of tests/it/openapi/types.rs.
import type { components } from "./types.gen";

type Schemas = components["schemas"];
type ParcelEvent = Schemas["parcels.event"];

const ids = { id: "0195d6f0-0000-7000-8000-000000000001", aggregate_id: "0195d6f0-0000-7000-8000-000000000002" };
const address: Schemas["parcels.payload.Address"] = { street: "Ring 1", country: "AT", key_code: "1234" };

const sent = {
    sender: address,
    size_mm: [100, 200, 300] as [number, number, number],
    sent_at: "2026-01-01T00:00:00Z",
    route: [ids.id],
    labels: { fragile: { text: "glass", priority: -1 } },
    service: { express: { hours: 24 } },
    door_codes: { front: "1234" },
    hints: ["left door"],
};

export const events: ParcelEvent[] = [
    { ...ids, type_id: 7000, payload: sent },
    { ...ids, type_id: 7000, payload: { ...sent, recipient: null, weight_grams: null, service: "standard" } },
    { ...ids, type_id: 7001, payload: { to: { kind: "depot", depot_id: ids.id }, carrier_id: ids.id } },
    { ...ids, type_id: 7001, payload: { to: { kind: "locker", shelf: ["a", 1], pin: "1" }, carrier_id: ids.id } },
    { ...ids, type_id: 7002, payload: { payment: { cents: 5, card: { holder: "ada", number: "4" } } } },
];

export function read(event: ParcelEvent): string | number {
    if (event.type_id === 7000) {
        const [width]: [number, number, number] = event.payload.size_mm;
        const weight: number | null | undefined = event.payload.weight_grams;
        const country: "AT" | "DE" = event.payload.sender.country;
        const priority: number | undefined = event.payload.labels.fragile?.priority;
        const service = event.payload.service;
        const hours = typeof service === "object" && "express" in service ? service.express.hours : 0;
        return width + (weight ?? 0) + country.length + (priority ?? 0) + hours;
    }
    if (event.type_id === 7001) {
        const to = event.payload.to;
        return to.kind === "depot" ? to.depot_id : to.shelf[1];
    }
    // @ts-expect-error: only `Moved` has a place.
    event.payload.to;
    return event.payload.payment.cents;
}

// @ts-expect-error: not a country.
export const country: Schemas["parcels.payload.Country"] = "XX";
export const shortTuple: ParcelEvent = {
    ...ids,
    type_id: 7000,
    // @ts-expect-error: a tuple of three.
    payload: { ...sent, size_mm: [1, 2] },
};
export const noShelf: ParcelEvent = {
    ...ids,
    type_id: 7001,
    // @ts-expect-error: a locker has a shelf and a PIN.
    payload: { to: { kind: "locker", depot_id: ids.id }, carrier_id: ids.id },
};

type Row = Schemas["parcels.row"];
export const place = (row: Row): string | undefined => (row.place?.kind === "depot" ? row.place.depot_id : undefined);
// @ts-expect-error: a row does not contain secrets, however deep.
export const keyCode = (row: Row) => row.sender.key_code;
// @ts-expect-error: two domains may each have a type of one name.
export const street = (letter: Schemas["letters.row"]) => letter.sender.street;
