/** What the console uses of oauth4webapi 3.8.8. */
export interface AuthorizationServer { issuer: string; authorization_endpoint?: string }
export interface Client { client_id: string }
export type Options = { [allowInsecureRequests]?: boolean };
export declare const allowInsecureRequests: unique symbol;
export declare function discoveryRequest(issuer: URL, options?: Options): Promise<Response>;
export declare function processDiscoveryResponse(issuer: URL, response: Response): Promise<AuthorizationServer>;
export declare function generateRandomCodeVerifier(): string;
export declare function generateRandomState(): string;
export declare function calculatePKCECodeChallenge(verifier: string): Promise<string>;
export declare function None(): unknown;
export declare function validateAuthResponse(server: AuthorizationServer, client: Client, answer: URL, state: string): URLSearchParams;
export declare function authorizationCodeGrantRequest(server: AuthorizationServer, client: Client, auth: unknown, answer: URLSearchParams, redirect: string, verifier: string, options?: Options): Promise<Response>;
export declare function processAuthorizationCodeResponse(server: AuthorizationServer, client: Client, response: Response): Promise<{ access_token: string }>;
