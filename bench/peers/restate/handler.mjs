// A service of Restate with one handler: so many durable steps, one after the other, that do nothing.
// `node handler.mjs PORT` serves it; it says the port when it listens.

import * as restate from "@restatedev/restate-sdk";

const bench = restate.service({
  name: "bench",
  handlers: {
    run: async (ctx, { steps }) => {
      for (let nth = 0; nth < steps; nth += 1) {
        await ctx.run(`step ${nth}`, () => nth);
      }
      return steps;
    },
  },
});

console.log(await restate.serve({ services: [bench], port: Number(process.argv[2]) }));
