/**
 * Checks a running appliance with the official `openai` package for JavaScript.
 *
 *     NODE_EXTRA_CA_CERTS=ca.crt node openai.mjs READY.json
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import OpenAI from 'openai';

const [readyPath] = process.argv.slice(2);
if (!readyPath) {
  console.error('usage: node openai.mjs READY.json');
  process.exit(64);
}
const ready = JSON.parse(readFileSync(readyPath, 'utf8'));
const client = (apiKey) => new OpenAI({ baseURL: new URL('/v1', ready.base_url).href, apiKey, maxRetries: 0 });
const box = client(ready.api_key);
const model = 'guide';
const messages = [{ role: 'user', content: 'What is ActionBooster?' }];

const checks = {
  'the models are listed': async () => {
    const ids = [];
    for await (const one of box.models.list()) ids.push(one.id);
    assert.ok(ids.includes(model), ids.join());
  },
  'a stream is the same answer as the whole one': async () => {
    const whole = await box.chat.completions.create({ model, messages, temperature: 0 });
    let said = '';
    for await (const chunk of await box.chat.completions.create({ model, messages, temperature: 0, stream: true })) {
      said += chunk.choices[0]?.delta?.content ?? '';
    }
    assert.equal(said, whole.choices[0].message.content);
    assert.ok(said.includes('ActionBooster'), said);
  },
  'a response is put together of its events, and gone on with by its id': async () => {
    const asked = { model, input: messages[0].content, temperature: 0 };
    const whole = await box.responses.create(asked);
    const streamed = await box.responses.stream(asked).finalResponse();
    assert.equal(streamed.output_text, whole.output_text);
    assert.ok(whole.output_text.includes('ActionBooster'), whole.output_text);
    const next = await box.responses.create({ ...asked, input: 'And then?', previous_response_id: whole.id });
    assert.equal(next.status, 'completed');
  },
  'a tool that has to be called is called': async () => {
    const parameters = { type: 'object', properties: { n: { enum: [1, 2] } }, required: ['n'], additionalProperties: false };
    const done = await box.chat.completions.create({
      model,
      messages,
      max_tokens: 400,
      tools: [{ type: 'function', function: { name: 'count', parameters } }],
      tool_choice: 'required',
    });
    const [call] = done.choices[0].message.tool_calls;
    assert.equal(call.function.name, 'count');
    assert.ok([1, 2].includes(JSON.parse(call.function.arguments).n), call.function.arguments);
  },
  'texts become vectors': async () => {
    const done = await box.embeddings.create({ model, input: ['one', 'two'] });
    assert.equal(done.data.length, 2);
    const length = Math.hypot(...done.data[0].embedding);
    assert.ok(Math.abs(length - 1) < 1e-3, String(length));
  },
  'mistakes are errors of their kind': async () => {
    await assert.rejects(client('ab_wrong').models.list(), OpenAI.AuthenticationError);
    await assert.rejects(box.chat.completions.create({ model: 'gide', messages }), OpenAI.NotFoundError);
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok   openai for JavaScript: ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL openai for JavaScript: ${name}: ${error.message}`);
  }
}
console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
