// An OpenID provider on loopback: `node provider.mjs FOLDER PORT REDIRECT_URI`, where FOLDER holds node_modules.
// oidc-provider speaks the protocol. Here stand its people, its one client, and the page that asks who somebody is.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, port, redirectUri] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(createRequire(`${folder}/`).resolve("oidc-provider")));

const GROUPS = { mia: ["CN=data,OU=marketing", "cooks"], dan: ["CN=data,OU=science"], eve: ["cooks"] };
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: "console", client_secret: "a secret of the console", redirect_uris: [redirectUri] }],
  pkce: { required: () => true },
  scopes: ["openid", "profile", "groups"],
  claims: { openid: ["sub"], profile: ["preferred_username"], groups: ["groups"] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, groups: GROUPS[id] }),
  }),
  loadExistingGrant: async (ctx) => {
    const grant = new provider.Grant({ clientId: "console", accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope("openid profile groups"); // nobody is asked for consent
    await grant.save();
    return grant;
  },
  interactions: { url: (_, interaction) => `/who/${interaction.uid}` },
  features: { devInteractions: { enabled: false } },
  cookies: { keys: ["of this test"] },
});

const pages = provider.callback();
createServer(async (request, reply) => {
  if (!request.url.startsWith("/who/")) return pages(request, reply);
  if (request.method === "POST") {
    const form = new URLSearchParams(await new Response(request).text());
    if (form.has("no")) return provider.interactionFinished(request, reply, { error: "access_denied" });
    return provider.interactionFinished(request, reply, { login: { accountId: form.get("who") } });
  }
  reply.setHeader("content-type", "text/html");
  reply.end(`<title>Who?</title><form method="post"><label>Who <input name="who" autofocus></label>
    <button>Go on</button><button name="no" value="1">Not now</button></form>`);
}).listen(Number(port), "127.0.0.1");
