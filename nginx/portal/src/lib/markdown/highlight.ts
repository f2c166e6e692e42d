/** Colours for code, by highlight.js's grammars, which are loaded when code in their language comes. */
import type { LanguageFn } from 'highlight.js';
import type { createLowlight } from 'lowlight';
import { cancel, inFrames, type Job } from './frames';

/** Longer code stays plain: grammars are regular expressions, and cannot be stopped half way. */
export const LONGEST_HIGHLIGHTED = 10_000;

/** A part of code and what it is; nothing for most of it. */
export interface Run {
  text: string;
  scope: string;
}

const GRAMMARS: Record<string, () => Promise<{ default: LanguageFn }>> = {
  bash: () => import('highlight.js/lib/languages/bash'),
  c: () => import('highlight.js/lib/languages/c'),
  cpp: () => import('highlight.js/lib/languages/cpp'),
  csharp: () => import('highlight.js/lib/languages/csharp'),
  css: () => import('highlight.js/lib/languages/css'),
  diff: () => import('highlight.js/lib/languages/diff'),
  go: () => import('highlight.js/lib/languages/go'),
  ini: () => import('highlight.js/lib/languages/ini'),
  java: () => import('highlight.js/lib/languages/java'),
  javascript: () => import('highlight.js/lib/languages/javascript'),
  json: () => import('highlight.js/lib/languages/json'),
  kotlin: () => import('highlight.js/lib/languages/kotlin'),
  php: () => import('highlight.js/lib/languages/php'),
  python: () => import('highlight.js/lib/languages/python'),
  ruby: () => import('highlight.js/lib/languages/ruby'),
  rust: () => import('highlight.js/lib/languages/rust'),
  sql: () => import('highlight.js/lib/languages/sql'),
  typescript: () => import('highlight.js/lib/languages/typescript'),
  xml: () => import('highlight.js/lib/languages/xml'),
  yaml: () => import('highlight.js/lib/languages/yaml'),
};

/** What models write after a fence for the same languages. */
const ALIASES: Record<string, string> = {
  'c#': 'csharp',
  'c++': 'cpp',
  cc: 'cpp',
  cs: 'csharp',
  golang: 'go',
  h: 'c',
  hpp: 'cpp',
  html: 'xml',
  js: 'javascript',
  jsonc: 'json',
  jsx: 'javascript',
  kt: 'kotlin',
  mjs: 'javascript',
  patch: 'diff',
  py: 'python',
  python3: 'python',
  rb: 'ruby',
  rs: 'rust',
  sh: 'bash',
  shell: 'bash',
  svelte: 'xml',
  svg: 'xml',
  toml: 'ini',
  ts: 'typescript',
  tsx: 'typescript',
  vue: 'xml',
  yml: 'yaml',
  zsh: 'bash',
};

let highlighter: Promise<ReturnType<typeof createLowlight>> | undefined;

type Reader = (code: string) => Run[];

/** What reads code in a language; null if the language is not known. */
export async function readerOf(named: string): Promise<Reader | null> {
  const lower = named.toLowerCase();
  const language = Object.hasOwn(ALIASES, lower) ? ALIASES[lower]! : lower;
  if (!Object.hasOwn(GRAMMARS, language)) return null;
  highlighter ??= import('lowlight').then(({ createLowlight }) => createLowlight());
  const [low, grammar] = await Promise.all([highlighter, GRAMMARS[language]!()]);
  if (!low.registered(language)) low.register(language, grammar.default);
  return (code) => runs(low.highlight(language, code).children);
}

/** Highlights when there is time, unless the function that it returns is called before. */
export function highlightLater(code: string, language: string, done: (runs: Run[]) => void): () => void {
  let job: Job | null = () => false;
  const load = async () => {
    const read = await readerOf(language);
    if (!job || !read) return;
    job = () => {
      done(read(code));
      return false;
    };
    inFrames(job);
  };
  // A grammar that cannot be loaded leaves the code as it is, until the next one is asked for.
  if (code.length <= LONGEST_HIGHLIGHTED) load().catch(() => (highlighter = undefined));
  return () => {
    if (job) cancel(job);
    job = null;
  };
}

type Nodes = ReturnType<ReturnType<typeof createLowlight>['highlight']>['children'];

/** The innermost scope of each part. */
function runs(nodes: Nodes, scope = ''): Run[] {
  return nodes.flatMap((node) => {
    if (node.type === 'text') return [{ text: node.value, scope }];
    if (node.type !== 'element') return [];
    const [name] = node.properties['className'] as string[];
    return runs(node.children, name);
  });
}
