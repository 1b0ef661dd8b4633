"""The demo for a phone: `python main.py` on a desktop with Kivy, or in an APK by buildozer. docs/demo.md."""

import os
from pathlib import Path

from kivy.utils import platform

# Android rings about every nine minutes in Doze: a heartbeat that is to be kept then has to be slower than that.
_ASLEEP_INTERVAL_S = 900.0
# On a desk, heartbeats are to be seen.
_SHOWN_INTERVAL_S = 10.0


def main() -> None:
    """Run the app with what this system has."""
    if platform == "android":
        from android.permissions import Permission, request_permissions

        from phone.android_alarm import AndroidAlarm
        from phone.android_notices import AndroidNotices
        from phone.screen import DemoApp

        request_permissions([Permission.POST_NOTIFICATIONS])
        DemoApp(notices=AndroidNotices(), make_alarm=AndroidAlarm, interval_s=_ASLEEP_INTERVAL_S).run()
        return
    from kivy.config import Config

    Config.set("graphics", "width", "400")
    Config.set("graphics", "height", "800")
    from phone.alarms import TimerAlarm
    from phone.notices import DesktopNotices
    from phone.screen import DemoApp

    # Kivy's own place for it is not made where ~/.config is not there.
    directory = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "push-demo"
    directory.mkdir(parents=True, exist_ok=True)
    DemoApp(notices=DesktopNotices(), make_alarm=TimerAlarm, interval_s=_SHOWN_INTERVAL_S, directory=directory).run()


if __name__ == "__main__":
    main()
