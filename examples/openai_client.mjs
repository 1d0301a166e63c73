// One streamed answer with the official client (npm install openai).   node examples/openai_client.mjs "Why is the sky blue?" [URL]
import OpenAI from "openai";

const [question = "Why is the sky blue?", baseURL = "http://127.0.0.1:8000/v1"] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none" });
const model = (await client.models.list()).data[0].id;
const stream = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: question }],
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
  if (chunk.usage) {
    process.stdout.write(`\n[${chunk.usage.prompt_tokens} prompt tokens, ${chunk.usage.completion_tokens} output tokens]\n`);
  }
}
