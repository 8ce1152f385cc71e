// `/-/runtime.js` is the runtime of the client's package; the server sends that file.
export * from "../client/runtime.js";
