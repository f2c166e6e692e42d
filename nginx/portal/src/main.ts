import { mount } from 'svelte';
import App from './App.svelte';
import { i18n } from './lib/i18n/index.svelte';
import { router } from './lib/router.svelte';
import { appearance } from './lib/theme.svelte';
import './styles/base.css';

appearance.restore();
i18n.detect();
router.start();
mount(App, { target: document.getElementById('app')! });
