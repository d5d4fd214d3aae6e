from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.config import (
    ENVIRONMENT,
    AsteriskConfig,
    BackendConfig,
    LLMConfig,
    MediaConfig,
    RouteConfig,
    ServerConfig,
    STTConfig,
    TrunkConfig,
    VoxtraConfig,
)
from voxtra.errors import ConfigurationError


def write(folder: Path, text: str) -> Path:
    path = folder / "voxtra.yaml"
    path.write_text(text)
    return path


def refused(**kw: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        VoxtraConfig.load(env={}, keywords=kw)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.proves("http://localhost:8088, asterisk, voxtra: the defaults")
def test_defaults_are_the_documented_ones() -> None:
    config = VoxtraConfig.load(env={})
    assert config.asterisk.url == "http://localhost:8088"
    assert config.asterisk.user == "asterisk"
    assert config.asterisk.app_name == "voxtra"
    assert config.asterisk.reconnect_interval == 5.0
    assert config.media.transport == "websocket"
    assert config.media.bind_host == "127.0.0.1"
    assert config.stt is None
    assert config.source("asterisk.url") == "default"


def test_each_place_beats_the_one_below(tmp_path: Path) -> None:
    file = write(
        tmp_path, "asterisk: {url: 'http://file:1', user: file, app_name: file}\nmedia: {codec: alaw}\n"
    )
    env = {"VOXTRA_ARI_URL": "http://env:1", "VOXTRA_ARI_USER": "env", "VOXTRA_APP_NAME": "env"}
    config = VoxtraConfig.load(
        file=file,
        env=env,
        options={"asterisk.url": "http://option:1", "asterisk.user": "option"},
        keywords={"asterisk.url": "http://keyword:1"},
    )
    assert config.asterisk.url == "http://keyword:1"
    assert config.asterisk.user == "option"
    assert config.asterisk.app_name == "env"
    assert config.media.codec == "alaw"
    assert config.source("asterisk.url") == "program"
    assert config.source("asterisk.user") == "option"
    assert config.source("asterisk.app_name") == "environment VOXTRA_APP_NAME"
    assert config.source("media.codec") == str(file)
    assert config.source("media.transport") == "default"


def test_precedence_is_by_layer_not_by_order_of_the_calls(tmp_path: Path) -> None:
    file = write(tmp_path, "asterisk: {url: 'http://file:1', user: file}\n")
    built = VoxtraConfig.load(env={"VOXTRA_ARI_USER": "env"}, keywords={"asterisk.url": "http://keyword:1"})
    later = built.layered(file=file, options={"asterisk.url": "http://option:1", "asterisk.password": "p"})
    assert later.asterisk.url == "http://keyword:1"
    assert later.asterisk.user == "env"
    assert later.asterisk.password.get_secret_value() == "p"
    forced = later.layered(forced={"asterisk.url": "http://private:1"})
    assert forced.asterisk.url == "http://private:1"
    assert forced.source("asterisk.url") == "voxtra dev"
    assert built.asterisk.url == "http://keyword:1"  # nothing was shared
    assert built.asterisk.password.get_secret_value() == ""


def test_settings_built_by_hand_count_as_keywords(tmp_path: Path) -> None:
    file = write(tmp_path, "asterisk: {url: 'http://file:1', user: file}\n")
    config = VoxtraConfig(asterisk=AsteriskConfig(url="http://hand:1")).layered(file=file, env={})
    assert config.asterisk.url == "http://hand:1"
    assert config.asterisk.user == "file"
    env = {"VOXTRA_ARI_URL": "http://env:1", "VOXTRA_ARI_USER": "env"}
    config = VoxtraConfig(asterisk=AsteriskConfig(url="http://hand:1")).layered(file=file, env=env)
    assert (config.asterisk.url, config.asterisk.user) == ("http://hand:1", "env")
    assert config.source("asterisk.user") == "environment VOXTRA_ARI_USER"


def test_empty_variables_are_unset_ones() -> None:
    assert VoxtraConfig.load(env={"VOXTRA_ARI_URL": ""}).asterisk.url == "http://localhost:8088"


def test_the_environment_reaches_every_plain_setting() -> None:
    env = {
        "VOXTRA_MEDIA_TRANSPORT": "rtp",
        "VOXTRA_MEDIA_RTP_PORTS": "20000-20999",
        "VOXTRA_MEDIA_BIND_PORT": "9000",
        "VOXTRA_LLM_PROVIDER": "openai",
        "VOXTRA_LLM_API_KEY": "sk-1",
        "VOXTRA_LISTEN": "0.0.0.0:8090",
    }
    config = VoxtraConfig.load(env=env)
    assert config.media.rtp_ports == (20000, 20999)
    assert config.media.bind_port == 9000
    assert config.asterisk.listen_address == ("0.0.0.0", 8090)
    assert config.llm is not None
    assert config.llm.api_key is not None
    assert config.llm.api_key.get_secret_value() == "sk-1"
    assert ENVIRONMENT["VOXTRA_ARI_PASSWORD"] == "asterisk.password"


@pytest.mark.proves("failure 26", "VoxtraConfig.from_yaml")
def test_variables_in_yaml(tmp_path: Path) -> None:
    text = "asterisk: {url: 'http://${HOST}:${PORT:-8088}', user: '${USER_OF_ARI:-}x', password: '$${p}$5'}\n"
    config = VoxtraConfig.load(file=write(tmp_path, text), env={"HOST": "pbx"})
    assert config.asterisk.url == "http://pbx:8088"
    assert config.asterisk.user == "x"
    assert config.asterisk.password.get_secret_value() == "${p}$5"


def test_a_variable_cannot_inject_yaml(tmp_path: Path) -> None:
    file = write(tmp_path, "asterisk: {user: '${EVIL}'}\n")
    config = VoxtraConfig.load(file=file, env={"EVIL": "x'}\nmedia: {codec: alaw}"})
    assert config.media.codec == "ulaw"
    assert config.asterisk.user.startswith("x'}")


@pytest.mark.proves("failure 26")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("asterisk: {password: '${NOT_SET}'}", "asterisk.password: ${NOT_SET} is not set: export it"),
        ("asterisk: {password: '${1x}'}", "is no variable"),
        ("asterisk: {password: '${x'}", "is no variable"),
        ("asterisk: [", "not YAML"),
        ("- a", "must hold settings"),
        ("asterisk: {usr: x}", "unknown setting 'asterisk.usr': did you mean 'user'?"),
        ("asterick: {}", "unknown setting 'asterick': did you mean 'asterisk'?"),
        ("zzz: 1", "known are: asterisk, media"),
        (
            "media: {transport: udp}",
            "media.transport = 'udp': must be 'websocket', 'rtp' or 'audiosocket' (in ",
        ),
        ("media: websocket", "media: must be a section"),
        ("routes: [{extension: '1', handler: nope}]", "routes.0.handler = 'nope'"),
        ("routes: [{extension: '1', handlr: 'a:b'}]", "did you mean 'handler'?"),
        (
            "asterisk: {user: a}\nmedia: {}\nasterisk: {app_name: b}",
            "line 3: not YAML: asterisk is there twice",
        ),
        ("asterisk: {url: &a [*a]}", "a part of it holds itself"),
        ("1: 2", "unknown setting '1': known are: asterisk"),
        (
            "asterisk:\n  user: 2024-13-45",
            "line 2: not YAML: what looks like timestamp is none: put it in quotes",
        ),
        ("asterisk: {reconnect_interval: 0x_}", "line 1: not YAML: what looks like int is none"),
        ("asterisk: {user: !!int ''}", "what looks like int is none"),
        ("server: {port: !!bool x}", "what looks like bool is none"),
        pytest.param("[" * 3000, "not YAML: too many levels", id="levels"),
        ("asterisk: {listen: '8090', listen_key: key.pem}", "listen_key needs listen_cert"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        VoxtraConfig.load(file=file, env={})
    assert says in str(caught.value)
    assert (
        str(file) in str(caught.value) or "unknown" in says or "did you mean" in says or "known are" in says
    )
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        VoxtraConfig.from_yaml(tmp_path / "none.yaml")


def test_the_environment_is_named_when_it_is_wrong() -> None:
    with pytest.raises(
        ConfigurationError, match=r"asterisk\.url = 'pbx': .* \(in environment VOXTRA_ARI_URL\)"
    ):
        VoxtraConfig.load(env={"VOXTRA_ARI_URL": "pbx"})


@pytest.mark.parametrize(
    "url",
    ["", "pbx", "ftp://pbx", "http://", "http://:8088", "http://pbx:99999", "http://pbx:0", "http://u:p@pbx",
     "http://pbx?x=1", "http://[::1", "http://pbx..example"],
)  # fmt: skip
def test_bad_urls(url: str) -> None:
    assert "asterisk.url" in refused(asterisk={"url": url})


@pytest.mark.parametrize("url", ["http://pbx:8088/", "http://pbx:8088/ari", "http://pbx:8088/ari/"])
def test_urls_lose_what_we_add(url: str) -> None:
    config = AsteriskConfig(url=url)
    assert (config.url, config.host, config.port) == ("http://pbx:8088", "pbx", 8088)
    assert config.sends_password_in_clear
    assert not AsteriskConfig(url="https://pbx").sends_password_in_clear
    assert not AsteriskConfig(url="http://127.0.0.1:8088").sends_password_in_clear


@pytest.mark.proves(
    "AsteriskConfig",
    "MediaConfig",
    "STTConfig, TTSConfig, LLMConfig, VADConfig",
    "RouteConfig",
)
def test_models_alone_raise_our_errors_too() -> None:
    with pytest.raises(ConfigurationError, match=r"media\.codec = 'opus': must be 'ulaw'"):
        MediaConfig(codec="opus")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"stt\.provider: is missing"):
        STTConfig()  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="did you mean 'handler'"):
        RouteConfig(handlr="a:b")  # type: ignore[call-arg]
    assert "asterisk.app_name = 'a,b'" in refused(asterisk={"app_name": "a,b"})
    assert "rtp_ports" in refused(media={"rtp_ports": "9-1"})


def test_a_codec_that_the_transport_cannot_carry() -> None:
    assert MediaConfig(transport="audiosocket").codec == "slin"
    assert "audiosocket can't carry codec 'ulaw' both ways: use slin or slin16" in refused(
        media={"transport": "audiosocket", "codec": "ulaw"}
    )
    assert "use ulaw or alaw or g722" in refused(media={"transport": "rtp", "codec": "slin16"})


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    config = VoxtraConfig.load(
        env={}, keywords={"asterisk.password": "hunter2", "llm": {"provider": "openai", "api_key": "hunter2"}}
    )
    assert "hunter2" not in f"{config!r} {config} {config.model_dump()} {config.to_yaml()}"
    assert "hunter2" not in refused(asterisk={"password": ["hunter2"]})
    assert "hunter2" not in refused(asterisk={"pasword": "hunter2"})
    assert "hunter2" not in refused(asterisk="hunter2")
    assert "hunter2" not in refused(llm={"provider": "", "api_key": "hunter2"})
    for password in ("hunter2", "x@hunter2", "x/hunter2", "/hunter2/x@", "hunter2:hunter2"):
        assert "hunter2" not in refused(asterisk={"url": f"http://u:{password}@pbx"})
    llm = LLMConfig(provider="x", options={"api_key": "hunter2", "inner": {"Token": "hunter2"}, "size": 7})
    assert "hunter2" not in f"{llm!r} {llm}"
    assert "size" in f"{llm!r}"


@pytest.mark.parametrize("password", ["*hunter2", "!hunter2", "'x${hunter2!}'", "{hunter2", "&hunter2 *a"])
def test_a_password_that_yaml_reads_otherwise_is_not_shown(tmp_path: Path, password: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        VoxtraConfig.load(file=write(tmp_path, f"asterisk:\n  password: {password}\n"), env={})
    assert "hunter2" not in str(caught.value)


def test_a_trunk_makes_endpoints_of_numbers() -> None:
    config = VoxtraConfig.load(env={"VOXTRA_TRUNK_ENDPOINT": "PJSIP/{number}@carrier"})
    assert config.trunk.dial("+442071838750") == "PJSIP/+442071838750@carrier"
    bare = TrunkConfig(endpoint="PJSIP/carrier/sip:{digits}@10.0.0.1:5060", caller_id="Acme <+442071838750>")
    assert bare.dial("+442071838750") == "PJSIP/carrier/sip:442071838750@10.0.0.1:5060"
    assert TrunkConfig.model_fields["endpoint"].default == ""
    with pytest.raises(ConfigurationError, match=r"set trunk\.endpoint"):
        TrunkConfig().dial("+442071838750")


@pytest.mark.parametrize(
    "number",
    ["", "+", "442071838750", "+042071838750", "+44207183875&", "+44 207", "+4420718387501234",
     "+٤٤٢٠٧١٨٣٨٧٥٠", "+442071838750\n", "+442071838750,tT"],
)  # fmt: skip
def test_what_is_no_e164_number_is_not_dialled(number: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no E\.164 number"):
        TrunkConfig(endpoint="PJSIP/{number}@carrier").dial(number)


@pytest.mark.parametrize(
    "endpoint",
    ["PJSIP/carrier", "{number}", "PJSIP/{number}&SIP/x", "PJSIP/{number}@a,30", "PJSIP/{number}{number}",
     "PJSIP/{number}{digits}", "PJSIP/{number}@${X}", "PJSIP/{number}@a;b", "PJSIP/{number}@a\n"],
)  # fmt: skip
def test_templates_that_would_be_more_than_an_endpoint(endpoint: str) -> None:
    assert "trunk.endpoint" in refused(trunk={"endpoint": endpoint})


def test_a_caller_id_stays_one() -> None:
    assert "trunk.caller_id" in refused(trunk={"caller_id": 'x" <1>\nY: z'})


@pytest.mark.proves("VoxtraConfig.to_yaml")
def test_round_trip_through_a_private_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ENVIRONMENT:
        monkeypatch.delenv(variable, raising=False)
    config = VoxtraConfig.load(
        env={},
        keywords={
            "asterisk": {"url": "http://pbx:1", "password": "a${b}"},
            "media": {"transport": "rtp", "rtp_ports": (20000, 20010)},
            "routes": [{"extension": "100", "handler": "app:hello", "metadata": {"team": "x"}}],
        },
    )
    path = tmp_path / "out.yaml"
    config.to_yaml(path, secrets=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert VoxtraConfig.from_yaml(path) == config
    config.to_yaml(path)
    monkeypatch.setenv("VOXTRA_ARI_PASSWORD", "a${b}")
    assert VoxtraConfig.from_yaml(path) == config


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["asterisk", "media", "stt", "routes", "x", ""]), _json, max_size=3))
def test_whatever_is_in_it_the_answer_is_settings_or_one_line(data: dict[str, object]) -> None:
    said = ""
    try:
        VoxtraConfig.load(env={}, keywords=data)
    except ConfigurationError as error:
        said = str(error)
    assert "\n" not in said


def test_server_and_backend(tmp_path: Path) -> None:
    text = """
server: {host: 0.0.0.0, port: 8081}
backend: {url: 'https://backend.example/news', signing_secret: '${SECRET}', events: [call.ended], timeout: 3}
"""
    config = VoxtraConfig.load(
        file=write(tmp_path, text), env={"SECRET": "hush", "VOXTRA_SERVER_PORT": "9000"}
    )
    assert (config.server.host, config.server.port) == ("0.0.0.0", 9000)
    assert isinstance(config.server, ServerConfig)
    assert isinstance(config.backend, BackendConfig)
    assert config.backend.events == ["call.ended"]
    assert "hush" not in repr(config)
    assert "hush" not in config.to_yaml()
    env = {"VOXTRA_BACKEND_URL": "http://b.example", "VOXTRA_BACKEND_EVENTS": "call.started, call.ended"}
    assert VoxtraConfig.load(env=env).backend.events == ["call.started", "call.ended"]
    assert VoxtraConfig.load(env={}).backend.url == ""


def test_what_a_backend_can_not_be() -> None:
    assert "backend.events.0 = 'call.endet': must be one of agent.response" in refused(
        **{"backend.events": ["call.endet"]}
    )
    assert "backend.url = 'backend.example': must be an address like https" in refused(
        **{"backend.url": "backend.example"}
    )
    for url in ("http://", "https:///hook", "http://x:99999/"):
        assert f"backend.url = {url!r}: must be an address like https" in refused(**{"backend.url": url})
    inside = {"backend.url": "http://127.0.0.1:8000/hook"}
    assert "backend.private_urls: true allows it" in refused(**inside)
    assert VoxtraConfig.load(env={}, keywords=inside | {"backend.private_urls": True}).backend.private_urls
    assert "backend.timeout" in refused(**{"backend.timeout": 0})
    assert "did you mean 'signing_secret'" in refused(**{"backend.signing_secrt": "x"})


def test_secrets_go_to_a_private_file_also_where_one_was_that_others_could_read(tmp_path: Path) -> None:
    path = tmp_path / "voxtra.yaml"
    path.write_text("old")
    path.chmod(0o644)
    VoxtraConfig.load(env={}, keywords={"asterisk.password": "hush"}).to_yaml(path, secrets=True)
    assert "hush" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["voxtra.yaml"]
    with pytest.raises(ConfigurationError, match="can't be written"):
        VoxtraConfig.load(env={}).to_yaml(tmp_path / "none" / "voxtra.yaml")


def test_a_key_among_a_providers_options_is_not_written_either(tmp_path: Path) -> None:
    options = {"api_key": "sk-hush", "client": {"auth_token": "tok-hush"}, "size": 5}
    config = VoxtraConfig.load(env={}, keywords={"llm.provider": "openai", "llm.options": options})
    text = config.to_yaml()
    assert "hush" not in text
    assert "${VOXTRA_LLM_OPTIONS_API_KEY}" in text
    env = {"VOXTRA_LLM_OPTIONS_API_KEY": "sk-hush", "VOXTRA_LLM_OPTIONS_CLIENT_AUTH_TOKEN": "tok-hush"}
    again = VoxtraConfig.load(file=write(tmp_path, text), env=env)
    assert again.llm is not None
    assert again.llm.options["client"] == {"auth_token": "tok-hush"}
    config.to_yaml(tmp_path / "all.yaml", secrets=True)
    assert VoxtraConfig.load(file=tmp_path / "all.yaml", env={}) == config


def test_what_looks_like_a_variable_comes_back_as_it_was(tmp_path: Path) -> None:
    routes = [{"handler": "a:b", "metadata": {"say": "Dial ${X}"}}]
    config = VoxtraConfig.load(
        env={},
        keywords={
            "llm.provider": "openai",
            "llm.system_prompt": "Say ${name}, or $${name}.",
            "routes": routes,
        },
    )
    config.to_yaml(tmp_path / "all.yaml")
    assert VoxtraConfig.load(file=tmp_path / "all.yaml", env={}) == config


def test_what_keywords_and_ranges_can_not_be() -> None:
    both = {"media": "rtp", "media.codec": "ulaw"}
    assert refused(**both) == "media.codec: media is given both as a section and as a value"
    for wrong in ("20000", 20000, [20000], [1, 2, 3]):
        assert refused(media={"rtp_ports": wrong}) == (
            f"media.rtp_ports = {wrong!r}: must be a range of ports, like 20000-20999"
        )
    assert VoxtraConfig.load(env={}, keywords={"media.rtp_ports": [20000, 20010]}).media.rtp_ports == (
        20000,
        20010,
    )
