/** Commands that work when they are pasted next to the box's ca.crt. */
export function curlExample(origin: string, key: string, prompt: string): string {
  const body = JSON.stringify({ prompt }).replaceAll("'", "'\\''");
  return `curl --cacert ca.crt ${origin}/query \\
  -H 'Authorization: Bearer ${key}' \\
  -H 'Content-Type: application/json' \\
  -d '${body}'`;
}

/** The same with OpenAI's own client; httpx comes with it. */
export function pythonExample(origin: string, key: string, prompt: string): string {
  return `import ssl

import httpx
from openai import OpenAI

box = OpenAI(
    base_url="${origin}/v1",
    api_key="${key}",
    http_client=httpx.Client(verify=ssl.create_default_context(cafile="ca.crt")),
)
model = box.models.list().data[0].id
answer = box.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": ${JSON.stringify(prompt)}}],
)
print(answer.choices[0].message.content)`;
}
