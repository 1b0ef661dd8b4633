"""Notifications of Android, by pyjnius. Imported on Android only.

Not by plyer (2.1.0): its PendingIntent says neither mutable nor immutable, which Android 12 and later refuse.
"""

from jnius import autoclass, cast

_CHANNEL = "messages"
_NUMBER = 1


class AndroidNotices:
    """One notification, which opens the app when it is touched. Needs Android 8 or later."""

    def __init__(self) -> None:
        context_class = autoclass("android.content.Context")
        manager_class = autoclass("android.app.NotificationManager")
        self._activity_class = autoclass("org.kivy.android.PythonActivity")
        self._context = self._activity_class.mActivity.getApplicationContext()
        service = self._context.getSystemService(context_class.NOTIFICATION_SERVICE)
        self._manager = cast("android.app.NotificationManager", service)
        channel_class = autoclass("android.app.NotificationChannel")
        self._manager.createNotificationChannel(
            channel_class(_CHANNEL, _java_text("Messages"), manager_class.IMPORTANCE_DEFAULT)
        )

    def show(self, title: str, text: str) -> None:
        """Show it, in the place of the one before."""
        intent_class, pending_class = autoclass("android.content.Intent"), autoclass("android.app.PendingIntent")
        intent = intent_class(self._context, self._activity_class)
        intent.setFlags(intent_class.FLAG_ACTIVITY_SINGLE_TOP)
        flags = pending_class.FLAG_UPDATE_CURRENT | pending_class.FLAG_IMMUTABLE
        builder = autoclass("android.app.Notification$Builder")(self._context, _CHANNEL)
        builder.setSmallIcon(self._context.getApplicationInfo().icon)
        builder.setContentTitle(_java_text(title))
        builder.setContentText(_java_text(text))
        builder.setContentIntent(pending_class.getActivity(self._context, 0, intent, flags))
        builder.setAutoCancel(True)
        self._manager.notify(_NUMBER, builder.build())


def _java_text(text: str) -> object:
    return cast("java.lang.CharSequence", autoclass("java.lang.String")(text))
