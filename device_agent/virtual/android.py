"""Android's own commands on a virtual phone: getprop, dumpsys, settings, cmd, svc, input, wm.

The forms of the outputs are those of AOSP's services (BatteryService, ThermalManagerService, PowerManagerService).
"""

from __future__ import annotations

from device_agent.virtual.command import Call, command

_STAY_ON = {"false": "0", "ac": "1", "usb": "2", "wireless": "4", "true": "7"}
_USAGE = 255  # what Android's service commands exit with when they do not understand


@command("getprop")
def _getprop(call: Call) -> int:
    properties = call.phone.properties()
    if call.arguments:
        default = call.arguments[1] if len(call.arguments) > 1 else ""
        call.print(properties.get(call.arguments[0], default))
        return 0
    for name, value in sorted(properties.items()):
        call.print(f"[{name}]: [{value}]")
    return 0


@command("settings")
def _settings(call: Call) -> int:
    verb, space, *rest = call.arguments
    if space not in call.phone.settings:
        call.complain(f"Invalid namespace '{space}'")
        return _USAGE
    table = call.phone.settings[space]
    if verb == "list":
        for name, value in sorted(table.items()):
            call.print(f"{name}={value}")
    elif verb == "get":
        call.print(table.get(rest[0], "null"))
    elif verb == "put":
        table[rest[0]] = rest[1]
    elif verb == "delete":
        call.print(f"Deleted {int(table.pop(rest[0], None) is not None)} rows")
    else:
        call.complain(f"Invalid command: {verb}")
        return _USAGE
    return 0


@command("svc")
def _svc(call: Call) -> int:
    settings = call.phone.settings["global"]
    match call.arguments:
        case ("power", "stayon", mode) if mode in _STAY_ON:
            settings["stay_on_while_plugged_in"] = _STAY_ON[mode]
        case ("power", "reboot", *_):
            call.phone.reboot()
        case ("wifi" | "data" | "bluetooth" as radio, "enable" | "disable" as verb):
            settings[f"{radio}_on"] = str(int(verb == "enable"))
        case _:
            call.complain("Available commands: power, wifi, data, bluetooth")
            return _USAGE
    return 0


@command("cmd")
def _cmd(call: Call) -> int:
    phone, settings = call.phone, call.phone.settings["global"]
    match call.arguments:
        case ("power", "set-fixed-performance-mode-enabled", value) if phone.profile.sdk >= 30:
            phone.fixed_performance = value == "true"
        case ("power", "set-mode", mode):
            settings["low_power"] = mode
        case ("thermalservice", "override-status", status) if phone.profile.sdk >= 29:
            phone.thermal.force(int(status))
            phone.thermal_overridden = True
        case ("thermalservice", "reset") if phone.profile.sdk >= 29:
            phone.thermal.force(None)
            phone.thermal_overridden = False
        case ("thermalservice", "headroom", *_) if phone.profile.sdk >= 33:
            call.print(f"Headroom forecast: {phone.thermal.skin_c / phone.profile.thermal.status_c[2]:.3f}")
        case ("connectivity", "airplane-mode"):
            call.print("enabled" if settings.get("airplane_mode_on") == "1" else "disabled")
        case ("connectivity", "airplane-mode", "enable" | "disable" as verb):
            settings["airplane_mode_on"] = str(int(verb == "enable"))
        case ("settings", *rest):
            return call.spawn(("settings", *rest))
        case (service, *_) if service in ("power", "thermalservice", "connectivity"):
            call.print("Unknown command: " + " ".join(call.arguments[1:]))
            return _USAGE
        case (service, *_):
            call.streams.stderr(f"cmd: Can't find service: {service}\n".encode())
            return 20
        case _:
            call.streams.stderr(b"cmd: No service specified; use -l to list all services\n")
            return 20
    return 0


@command("input")
def _input(call: Call) -> int:
    match call.arguments:
        case ("keyevent", "KEYCODE_WAKEUP" | "224"):
            call.phone.awake = True
        case ("keyevent", "KEYCODE_SLEEP" | "223"):
            call.phone.awake = False
        case ("keyevent", "KEYCODE_POWER" | "26"):
            call.phone.awake = not call.phone.awake
    return 0


@command("wm")
def _wm(call: Call) -> int:
    if call.arguments[:1] == ("size",):
        call.print("Physical size: 1080x2400")
    return 0


@command("reboot")
def _reboot(call: Call) -> int:
    call.phone.reboot()
    return 0


@command("logcat")
def _logcat(call: Call) -> int:
    return 0


@command("dumpsys")
def _dumpsys(call: Call) -> int:
    services = {"battery": _battery, "thermalservice": _thermal, "power": _power}
    name = call.arguments[0] if call.arguments else ""
    if name not in services or (name == "thermalservice" and call.phone.profile.sdk < 29):
        call.streams.stderr(f"Can't find service: {name}\n".encode())
        return 0
    return services[name](call)


def _battery(call: Call) -> int:
    battery = call.phone.battery
    match call.arguments[1:]:
        case ("set", name, value):
            battery["temp_c" if name == "temp" else name] = float(value) / (10 if name == "temp" else 1)
            call.phone.battery_overridden = True
            return 0
        case ("reset",):
            call.phone.reset_battery()
            return 0
        case ("unplug",):
            battery["status"] = 3
            call.phone.battery_overridden = True
            return 0
    updates = "  UPDATES STOPPED -- use 'reset' to restart\n" if call.phone.battery_overridden else ""
    powered = battery["status"] in (2, 5)
    call.streams.stdout(
        (
            f"Current Battery Service state:\n{updates}  AC powered: false\n  USB powered: {str(powered).lower()}\n"
            "  Wireless powered: false\n  Max charging current: 500000\n  Max charging voltage: 5000000\n"
            f"  Charge counter: 3000000\n  status: {battery['status']:.0f}\n  health: 2\n  present: true\n"
            f"  level: {battery['level']:.0f}\n  scale: 100\n  voltage: 4210\n"
            f"  temperature: {battery['temp_c'] * 10:.0f}\n  technology: Li-ion\n"
        ).encode()
    )
    return 0


def _thermal(call: Call) -> int:
    phone = call.phone
    status = phone.thermal.status
    readings = phone.temperatures_c() if phone.thermal.observable else {}
    types = {"CPU": 0, "GPU": 1, "BATTERY": 2, "SKIN": 3}
    lines = [
        f"\tTemperature{{mValue={temp_c:.1f}, mType={types[name]}, mName={name}, mStatus={status * (name == 'SKIN')}}}"
        for name, temp_c in readings.items()
    ]
    temperatures = "\n".join(lines) + "\n" if lines else ""
    call.streams.stdout(
        (
            f"IsStatusOverride: {str(phone.thermal_overridden).lower()}\nThermalEventListeners:\n\tcallbacks: 1\n"
            "\tkilled: false\n\tbroadcasts count: -1\nThermalStatusListeners:\n\tcallbacks: 1\n\tkilled: false\n"
            f"\tbroadcasts count: -1\nThermal Status: {status}\nCached temperatures:\n{temperatures}HAL Ready: true\n"
            f"HAL connection:\n\tThermalHAL 2.0 connected: yes\nCurrent temperatures from HAL:\n{temperatures}"
            "Current cooling devices from HAL:\n\tCoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}\n"
        ).encode()
    )
    return 0


def _power(call: Call) -> int:
    phone = call.phone
    settings = phone.settings["global"]
    stay_on = settings.get("stay_on_while_plugged_in", "0")
    call.streams.stdout(
        (
            "POWER MANAGER (dumpsys power)\n\nPower Manager State:\n"
            f"  mWakefulness={'Awake' if phone.awake else 'Asleep'}\n  mIsPowered=true\n  mPlugType=2\n"
            f"  mBatteryLevel={phone.battery['level']:.0f}\n  mStayOn={str(stay_on != '0').lower()}\n"
            f"  mBootCompleted=true\n\nSettings and Configuration:\n  mStayOnWhilePluggedInSetting={stay_on}\n"
            f"  mScreenBrightnessModeSetting={phone.settings['system'].get('screen_brightness_mode', '0')}\n\n"
            f"Display Power: state={'ON' if phone.awake else 'OFF'}\n"
        ).encode()
    )
    return 0
