"""The demo for a phone: a Kivy app on nio_sdk, which also runs on a desktop. docs/demo.md."""
