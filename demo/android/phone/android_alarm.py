"""Alarms of Android: AlarmManager by pyjnius, which wakes the device. Imported on Android only.

Android lets an app that sleeps (Doze) ring about every nine minutes, so the heartbeat has to be as slow as that: see
`talker`. The process has to be there: Android may end it, and then it connects when the app is opened again.

Source: developer.android.com, "Schedule alarms" and "Optimize for Doze and App Standby".
"""

from collections.abc import Callable

from android.broadcast import BroadcastReceiver
from jnius import autoclass, cast

# While the answer to a PING is on its way, the device is to stay awake; it takes a few round trips.
_AWAKE_MS = 10_000


class AndroidAlarm:
    """One alarm of AlarmManager.

    Args:
        ring: called when the time has come, in a thread of Android's.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        context_class, intent_class = autoclass("android.content.Context"), autoclass("android.content.Intent")
        pending_class, power_class = autoclass("android.app.PendingIntent"), autoclass("android.os.PowerManager")
        self._alarm_class = autoclass("android.app.AlarmManager")
        self._system_clock = autoclass("android.os.SystemClock")
        activity = autoclass("org.kivy.android.PythonActivity").mActivity
        context = activity.getApplicationContext()
        package = context.getPackageName()
        action = f"{package}.HEARTBEAT"
        self._ring = ring
        self._alarms = cast("android.app.AlarmManager", context.getSystemService(context_class.ALARM_SERVICE))
        power = cast("android.os.PowerManager", context.getSystemService(context_class.POWER_SERVICE))
        self._awake = power.newWakeLock(power_class.PARTIAL_WAKE_LOCK, f"{package}:heartbeat")
        self._awake.setReferenceCounted(False)
        intent = intent_class(action)
        intent.setPackage(package)
        flags = pending_class.FLAG_UPDATE_CURRENT | pending_class.FLAG_IMMUTABLE
        self._pending = pending_class.getBroadcast(context, 0, intent, flags)
        self._receiver = BroadcastReceiver(self._received, actions=[action])
        self._receiver.start()

    def set(self, delay_s: float) -> None:
        """Ring in so many seconds, or when Android finds it convenient."""
        at_ms = self._system_clock.elapsedRealtime() + int(1000 * delay_s)
        self._alarms.setAndAllowWhileIdle(self._alarm_class.ELAPSED_REALTIME_WAKEUP, at_ms, self._pending)

    def cancel(self) -> None:
        """Do not ring."""
        self._alarms.cancel(self._pending)

    def close(self) -> None:
        """Let go of it."""
        self.cancel()
        self._receiver.stop()
        if self._awake.isHeld():
            self._awake.release()

    def _received(self, context: object, intent: object) -> None:
        # Android itself keeps the device awake only until this returns.
        self._awake.acquire(_AWAKE_MS)
        self._ring()
