"""How the screen looks, in Kivy's language. Imports nothing."""

KV = """
#:set ink (.90, .93, .95, 1)
#:set faint (.55, .58, .62, 1)
#:set blue (.34, .53, .94, 1)
#:set green (.35, .78, .48, 1)
#:set amber (.95, .75, .30, 1)
#:set mine (.16, .29, .55, 1)
#:set others (.15, .18, .22, 1)
#:set pushed (.30, .24, .10, 1)

<Name@Label>:
    color: faint
    font_size: '13sp'
    size_hint: None, None
    size: dp(78), dp(22)
    text_size: self.size
    valign: 'middle'

<Value@Label>:
    color: ink
    font_size: '13sp'
    size_hint_y: None
    height: dp(22)
    text_size: self.size
    valign: 'middle'
    shorten: True
    shorten_from: 'right'

<Field@TextInput>:
    multiline: False
    font_size: '15sp'
    padding: dp(10), dp(10)
    background_normal: ''
    background_active: ''
    background_color: .13, .16, .20, 1
    foreground_color: ink
    disabled_foreground_color: .75, .78, .82, 1
    cursor_color: blue
    hint_text_color: faint
    size_hint_y: None
    height: dp(42)

<Press@Button>:
    background_normal: ''
    background_down: ''
    background_color: 0, 0, 0, 0
    color: 1, 1, 1, 1
    bold: True
    font_size: '15sp'
    size_hint_y: None
    height: dp(42)
    canvas.before:
        Color:
            rgba: (.20, .38, .75, 1) if self.state == 'down' else (.18, .20, .24, 1) if self.disabled else blue
        RoundedRectangle:
            pos: self.pos
            size: self.size
            radius: [dp(8)]

<Card@BoxLayout>:
    orientation: 'vertical'
    padding: dp(12)
    spacing: dp(6)
    canvas.before:
        Color:
            rgba: .09, .11, .14, 1
        RoundedRectangle:
            pos: self.pos
            size: self.size
            radius: [dp(12)]

<Line>:
    size_hint_y: None
    height: words.height + dp(30)
    padding: (dp(56), dp(3), 0, dp(3)) if self.is_mine else (0, dp(3), dp(56), dp(3))
    BoxLayout:
        orientation: 'vertical'
        padding: dp(12), dp(5)
        canvas.before:
            Color:
                rgba: mine if root.is_mine else pushed if root.who == 'push' else others
            RoundedRectangle:
                pos: self.pos
                size: self.size
                radius: [dp(12)]
        Label:
            text: root.who
            color: .62, .72, .95, 1
            font_size: '11sp'
            size_hint_y: None
            height: dp(14)
            text_size: self.width, None
            halign: 'left'
        Label:
            id: words
            text: root.text
            color: ink
            font_size: '15sp'
            size_hint_y: None
            text_size: self.width, None
            height: self.texture_size[1]
            halign: 'left'

BoxLayout:
    orientation: 'vertical'
    padding: dp(12)
    spacing: dp(10)
    canvas.before:
        Color:
            rgba: .05, .07, .09, 1
        Rectangle:
            pos: self.pos
            size: self.size
    Card:
        size_hint_y: None
        height: self.minimum_height
        BoxLayout:
            size_hint_y: None
            height: dp(26)
            spacing: dp(8)
            Widget:
                size_hint_x: None
                width: dp(12)
                canvas:
                    Color:
                        rgba: green if app.is_open else amber if app.is_connected else faint
                    Ellipse:
                        pos: self.x, self.center_y - dp(6)
                        size: dp(12), dp(12)
            Label:
                text: app.state
                color: ink
                bold: True
                font_size: '17sp'
                text_size: self.size
                valign: 'middle'
                shorten: True
                shorten_from: 'right'
        Field:
            id: url
            hint_text: 'server: push://host:6789 or ws://host:8080/ws'
            disabled: app.is_connected
        BoxLayout:
            size_hint_y: None
            height: dp(42)
            spacing: dp(8)
            Field:
                id: uid
                hint_text: 'your name (uid)'
                disabled: app.is_connected
            Field:
                id: group
                hint_text: 'group'
                disabled: app.is_connected
        BoxLayout:
            size_hint_y: None
            height: dp(42)
            spacing: dp(8)
            Press:
                id: connect
                text: 'Disconnect' if app.is_connected else 'Connect'
                on_release: app.connect()
            Press:
                id: beat
                text: 'Heartbeat'
                disabled: not app.is_connected
                on_release: app.beat()
        GridLayout:
            cols: 2
            size_hint_y: None
            height: self.minimum_height
            Name:
                text: 'server'
            Value:
                text: app.server
            Name:
                text: 'token'
            Value:
                text: app.token
            Name:
                text: 'heartbeat'
            Value:
                text: app.heartbeat
        Label:
            text: app.log
            markup: True
            color: ink
            font_size: '11sp'
            size_hint_y: None
            height: dp(64)
            text_size: self.size
            valign: 'top'
    Card:
        Label:
            text: app.heading
            color: .62, .72, .95, 1
            bold: True
            font_size: '15sp'
            size_hint_y: None
            height: dp(22)
            text_size: self.size
            valign: 'middle'
            shorten: True
        ScrollView:
            id: scroll
            do_scroll_x: False
            effect_cls: 'ScrollEffect'
            BoxLayout:
                id: talk
                orientation: 'vertical'
                size_hint_y: None
                height: self.minimum_height
        BoxLayout:
            size_hint_y: None
            height: dp(42)
            spacing: dp(8)
            Field:
                id: say
                hint_text: 'say something'
                text_validate_unfocus: False
                on_text_validate: app.say()
            Press:
                text: 'Send'
                size_hint_x: None
                width: dp(76)
                disabled: not app.is_open
                on_release: app.say()
"""
