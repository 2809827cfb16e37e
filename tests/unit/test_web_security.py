"""Hostile and clumsy visitors: sessions, forgery, hosts, methods, sizes, and what errors may tell."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import httpx
import pytest

from greenmine.core.alert import Alert
from greenmine.core.reading import Series
from greenmine.web.boundary import CONTENT_SECURITY_POLICY
from tests.web_fakes import PASSWORD, RunningSite, World, make_world, open_pit_document, open_pit_policy, running

ROAD = Series("demo-pit", "dust-road", "pm10")
V1 = "/api/v1"


@pytest.fixture(scope="module")
def calm_site() -> Iterator[RunningSite]:
    """For tests that change nothing."""
    with running(make_world("rest")) as found:
        yield found


@pytest.fixture
def world() -> World:
    return make_world("rest")


@pytest.fixture
def site(world: World) -> Iterator[RunningSite]:
    with running(world) as found:
        yield found


@pytest.fixture
def alert(world: World) -> Alert:
    return world.desk.raise_alert(open_pit_policy(), "pm10-warning", ROAD, 263.0)


def _get_paths(site: RunningSite, alert: Alert) -> list[str]:
    with site.client() as stranger:
        document = stranger.get(f"{V1}/openapi.json").json()
    api = [path for path, methods in document["paths"].items() if "get" in methods and path != f"{V1}/stream"]
    values = {"{mine}": "demo-pit", "{alert_id}": alert.id, "{network}": "mqtt", "{address}": "nobody"}
    named = list(api)
    for name, value in values.items():
        named = [path.replace(name, value) for path in named]
    pages = ["/", "/mines/demo-pit", "/mines/demo-pit/devices/dust-road", "/alerts", f"/alerts/{alert.id}", "/password"]
    return named + pages


def test_nothing_is_shown_without_a_session(site: RunningSite, alert: Alert) -> None:
    with site.client() as stranger:
        for path in [*_get_paths(site, alert), f"{V1}/stream"]:
            answer = stranger.get(path)
            if path.startswith(V1):
                assert answer.status_code == 401, path
                assert answer.headers["www-authenticate"] == "Bearer"
                assert answer.json()["title_zh"] == "请先登录"
            else:
                assert answer.status_code == 303, path
                assert answer.headers["location"].startswith("/login?next=%2F")
        assert stranger.get("/?part=live").status_code == 401


def test_no_write_is_taken_without_a_session(site: RunningSite, world: World, alert: Alert) -> None:
    with site.client() as stranger:
        document = stranger.get(f"{V1}/openapi.json").json()
        writes = [path for path, methods in document["paths"].items() if "post" in methods]
        assert len(writes) == 8
        for path in writes:
            path = path.replace("{alert_id}", alert.id).replace("{network}", "mqtt").replace("{address}", "nobody")
            assert stranger.post(path, json={}).status_code == 401
        assert stranger.post(f"/alerts/{alert.id}/acknowledge", data={"note": "x"}).status_code == 303
    assert world.desk.acts == []


@pytest.mark.parametrize("ended_by", ["logging out", "expiry"])
def test_a_session_cookie_that_ended_is_worth_nothing(site: RunningSite, world: World, ended_by: str) -> None:
    with site.logged_in("li") as client:
        token = client.cookies["greenmine_session"]
        csrf = client.headers["x-csrf-token"]
        assert client.get(f"{V1}/account").status_code == 200
        if ended_by == "expiry":
            del world.logins.sessions[token]
        else:
            answer = client.post("/logout", data={"csrf": csrf})
            assert answer.headers["location"] == "/login?said=logged_out"
            assert "greenmine_session" not in client.cookies
    with site.client(cookies={"greenmine_session": token}) as replay:
        assert replay.get(f"{V1}/account").status_code == 401
        assert replay.get("/").headers["location"] == "/login?next=%2F"


def test_a_login_makes_a_new_session_and_ends_the_one_that_came_with_it(site: RunningSite, world: World) -> None:
    planted = world.logins.log_in("viewer", PASSWORD, "")[1]
    for cookie in ("made-up-by-somebody", planted):
        with site.client(cookies={"greenmine_session": cookie}) as client:
            answer = client.post("/login", data={"name": "li", "password": PASSWORD})
            given = answer.cookies["greenmine_session"]
        assert given not in (cookie, planted)
        assert world.logins.sessions[given] == "li"
    assert planted not in world.logins.sessions


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(world: World) -> None:
    with running(world) as site, site.client() as client:
        plain = client.post("/login", data={"name": "li", "password": PASSWORD}).headers["set-cookie"]
    assert re.fullmatch(r"greenmine_session=[^;]+; HttpOnly; Path=/; SameSite=lax", plain)
    with running(world, secure_cookies=True) as site, site.client() as client:
        secure = client.post("/login", data={"name": "li", "password": PASSWORD}).headers["set-cookie"]
    assert re.fullmatch(r"__Host-greenmine_session=[^;]+; HttpOnly; Path=/; SameSite=lax; Secure", secure)


def test_wrong_names_and_passwords_are_told_alike_and_locked_after_a_while(site: RunningSite) -> None:
    with site.client(headers={"accept-language": "en"}) as client:
        answers = [client.post("/login", data={"name": "li", "password": "no"}) for _ in range(5)]
        unknown = client.post("/login", data={"name": "nobody", "password": "no"})
        assert {answer.status_code for answer in [*answers, unknown]} == {401}
        assert answers[0].text.replace('value="li"', "") == unknown.text.replace('value="nobody"', "")
        locked = client.post("/login", data={"name": "li", "password": PASSWORD})
        assert locked.status_code == 429
        assert "locked for a while" in locked.text
        assert "set-cookie" not in locked.headers


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example", "/%0d%0aLocation:x\n"])
def test_a_login_leads_only_to_a_page_of_ours(calm_site: RunningSite, target: str) -> None:
    with calm_site.client() as client:
        form = client.get("/login", params={"next": target}).text
        assert 'name="next" value="/"' in form
        answer = client.post("/login", data={"name": "li", "password": PASSWORD, "next": target})
        assert answer.headers["location"] == "/"


def test_a_login_goes_where_the_person_wanted(calm_site: RunningSite) -> None:
    with calm_site.client() as client:
        asked = client.get("/alerts?show=all")
        form = client.get(asked.headers["location"]).text
        assert 'name="next" value="/alerts?show=all"' in form
        answer = client.post("/login", data={"name": "li", "password": PASSWORD, "next": "/alerts?show=all"})
        assert answer.headers["location"] == "/alerts?show=all"
        assert client.get("/login?next=/alerts").headers["location"] == "/alerts"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_forms_from_other_sites_are_refused(
    site: RunningSite, world: World, alert: Alert, headers: dict[str, str]
) -> None:
    with site.logged_in("li") as client:
        csrf = client.headers["x-csrf-token"]
        assert client.post(f"{V1}/alerts/{alert.id}/note", json={"note": "x"}, headers=headers).status_code == 403
        form = {"csrf": csrf, "note": "x"}
        assert client.post(f"/alerts/{alert.id}/note", data=form, headers=headers).status_code == 403
        assert client.post("/logout", data=form, headers=headers).status_code == 403
        assert client.post("/password", data=form, headers=headers).status_code == 403
        assert client.post("/login", data={"name": "li", "password": PASSWORD}, headers=headers).status_code == 403
    assert world.desk.acts == []


@pytest.mark.parametrize("token", ["", "wrong", "é"])
def test_writes_need_the_token_of_their_own_session(site: RunningSite, world: World, alert: Alert, token: str) -> None:
    with site.logged_in("li") as client:
        client.headers["x-csrf-token"] = token
        answer = client.post(f"{V1}/alerts/{alert.id}/acknowledge", json={})
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:greenmine:problem:csrf")
        for path in (f"/alerts/{alert.id}/acknowledge", "/logout", "/password"):
            assert client.post(path, data={"csrf": token}).status_code == 403
        with site.logged_in("admin") as other:
            client.headers["x-csrf-token"] = other.headers["x-csrf-token"]
            assert client.post(f"{V1}/alerts/{alert.id}/acknowledge", json={}).status_code == 403
    assert world.desk.acts == []


def test_who_may_only_look_cannot_act(site: RunningSite, world: World, alert: Alert) -> None:
    with site.logged_in("viewer") as client:
        csrf = client.headers["x-csrf-token"]
        for act in ("acknowledge", "note", "resolve"):
            assert client.post(f"{V1}/alerts/{alert.id}/{act}", json={"note": "x"}).status_code == 403
            assert client.post(f"/alerts/{alert.id}/{act}", data={"csrf": csrf, "note": "x"}).status_code == 403
        assert client.post(f"{V1}/facts", json={}).status_code == 403
        assert client.post(f"{V1}/dead-letters/replay", json={"ids": [1]}).status_code == 403
        assert client.post(f"{V1}/admin/users.list", json={}).status_code == 403
        assert "<form class" not in client.get("/alerts").text
        assert "您的账号只能查看" in client.get(f"/alerts/{alert.id}").text
    assert world.desk.acts == []


def test_a_password_that_must_be_changed_comes_before_everything(site: RunningSite, world: World) -> None:
    with site.client() as client:
        answer = client.post("/login", data={"name": "new", "password": PASSWORD, "next": "/alerts"})
        assert answer.headers["location"] == "/password"
        assert client.get("/").headers["location"] == "/password"
        refused = client.get(f"{V1}/account")
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:greenmine:problem:password_change_required")
        old_token = client.cookies["greenmine_session"]
        page = client.get("/password").text
        csrf = re.search(r'name="csrf" value="(\w+)"', page)
        assert csrf is not None
        form = {"csrf": csrf[1], "old": PASSWORD, "new": "a-long-new-one", "again": "a-long-new-one"}
        assert client.post("/password", data={**form, "again": "other"}).status_code == 422
        assert client.post("/password", data={**form, "new": "short", "again": "short"}).status_code == 422
        assert client.post("/password", data={**form, "old": "wrong"}).status_code == 422
        done = client.post("/password", data=form)
        assert done.headers["location"] == "/?said=password"
        assert client.cookies["greenmine_session"] != old_token
        assert old_token not in world.logins.sessions
        assert client.get(f"{V1}/account").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::1", "evil.example:80"])
def test_other_host_names_are_not_served(calm_site: RunningSite, host: str) -> None:
    with calm_site.client(headers={"host": host}) as client:
        for path in ("/login", "/healthz", f"{V1}/account"):
            assert client.get(path).status_code == 400
        assert client.get(f"{V1}/account").json()["title"] == "This host name is not served"


@pytest.mark.parametrize("method", ["TRACE", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT-ME", "FOO"])
@pytest.mark.parametrize("path", ["/", f"{V1}/account", "/nowhere"])
def test_unknown_methods_are_refused(calm_site: RunningSite, method: str, path: str) -> None:
    with calm_site.client() as client:
        answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, POST"


def test_a_method_override_is_ignored(site: RunningSite, world: World, alert: Alert) -> None:
    with site.logged_in("li") as client:
        answer = client.get(f"{V1}/alerts/{alert.id}", headers={"X-HTTP-Method-Override": "DELETE"})
        assert answer.status_code == 200
        assert client.get(f"{V1}/alerts/{alert.id}/acknowledge").status_code == 405
    assert alert.id in world.board.known


def test_no_get_changes_anything(site: RunningSite, world: World, alert: Alert) -> None:
    with site.logged_in("admin") as client:
        before = (dict(world.board.known), dict(world.logins.sessions), dict(world.logins.users), world.readings.count)
        for path in _get_paths(site, alert):
            query = "?panel=chart.pm10.inst.0" if path.endswith("/chart") else ""
            assert client.get(path + query).status_code in (200, 303, 404), path
        for path in ("/login", "/logout", f"{V1}/facts", f"{V1}/admin/users.add", f"{V1}/dead-letters/replay"):
            client.get(path)
        after = (dict(world.board.known), dict(world.logins.sessions), dict(world.logins.users), world.readings.count)
    assert before == after
    assert world.desk.acts == []
    assert world.operations.administered == []


def test_bodies_over_a_mebibyte_are_refused(site: RunningSite, world: World, alert: Alert) -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"note": "'
        for _ in range(1100):
            yield b"x" * 1024

    with site.logged_in("li") as client:
        path = f"{V1}/alerts/{alert.id}/note"
        headers = {"content-type": "application/json"}
        long = client.post(path, content=b'{"note": "' + b"x" * (1 << 20) + b'"}', headers=headers)
        assert (long.status_code, long.headers["content-type"]) == (413, "application/problem+json")
        try:
            chunked = client.post(path, content=endless(), headers=headers).status_code
        except (httpx.WriteError, httpx.ReadError):
            chunked = 413  # the server had answered and closed before all was sent
        assert chunked == 413
        assert client.post("/login", data={"name": "x" * (1 << 20)}).status_code == 413
        assert client.get(f"{V1}/account").status_code == 200
    assert world.desk.acts == []


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 100_000, b"{", b"\xff\xfe", b'{"note": "\\ud800"}', b"nul"],
    ids=["deep list", "deep object", "cut", "no utf-8", "lone surrogate", "no json"],
)  # fmt: skip
def test_bodies_that_are_no_json_are_refused_and_never_an_error_of_ours(
    site: RunningSite, world: World, alert: Alert, body: bytes
) -> None:
    with site.logged_in("li") as client:
        answer = client.post(f"{V1}/alerts/{alert.id}/note", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422)
        assert answer.headers["content-type"] == "application/problem+json"
        if body.startswith((b"[", b'{"a"')):
            assert answer.status_code == 400
    assert world.desk.acts == []


def test_garbage_on_the_wire_leaves_the_service_alive(calm_site: RunningSite) -> None:
    port = int(calm_site.base.rsplit(":", 1)[1])
    for garbage in (b"\x00\xff\x01\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 100_000 + b"\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
            raw.sendall(garbage)
            raw.shutdown(socket.SHUT_WR)
            assert raw.recv(64).split(b" ")[1:2] in ([b"400"], [])
    with calm_site.client() as client:
        assert client.get("/healthz").text == "ok\n"


def test_every_answer_carries_the_security_headers(site: RunningSite, world: World, alert: Alert) -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    with site.logged_in("li") as client:
        paths = [*_get_paths(site, alert), "/login", "/nowhere", "/healthz", "/readyz", "/metrics", "/static/x/y.js"]
        for path in paths:
            headers = client.get(path).headers
            assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY, path
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "same-origin"
            assert headers["cache-control"] == "no-store", path
            assert "strict-transport-security" not in headers
        proxied = client.get("/healthz", headers={"x-forwarded-proto": "https"})
        assert proxied.headers["strict-transport-security"] == "max-age=31536000"


def test_no_page_has_inline_scripts_styles_or_handlers(site: RunningSite, alert: Alert) -> None:
    with site.logged_in("li") as client:
        for path in ["/login", *_get_paths(site, alert)]:
            if path.startswith(V1):
                continue
            html = client.get(path, follow_redirects=True).text
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", html), path
            assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", html))
            assert not re.search(r'(?:src|href)="(?:https?:)?//', html), "nothing comes from elsewhere"


def test_what_a_policy_or_a_person_wrote_is_text_and_not_markup() -> None:
    evil = "<img src=x onerror=alert(1)>\"'&{{7*7}}"
    document = open_pit_document()
    document["devices"][1]["name"] = {"zh": evil, "en": evil}
    document["rules"][1]["title"] = {"zh": evil, "en": evil}
    policy = open_pit_policy(devices=document["devices"], rules=document["rules"])
    world = make_world("one")
    world.board._policies["demo-pit"] = policy
    alert = world.desk.raise_alert(policy, "pm10-warning", Series("demo-pit", "dust-n1", "pm10"), 263.0)
    with running(world) as site, site.logged_in("li") as client:
        client.post(f"{V1}/alerts/{alert.id}/note", json={"note": evil})
        paths = ["/mines/demo-pit", "/mines/demo-pit/devices/dust-n1", "/alerts", f"/alerts/{alert.id}"]
        for path in paths:
            html = client.get(path).text
            assert "<img" not in html
            assert "&lt;img src=x onerror=alert(1)&gt;" in html
            assert "{{7*7}}" in html


def test_an_error_of_ours_is_an_id_and_no_trace(
    site: RunningSite, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret inside")

    with site.logged_in("li") as client:
        monkeypatch.setattr(world.board, "latest", broken)
        page = client.get("/mines/demo-pit", headers={"accept-language": "en"})
        api = client.get(f"{V1}/mines/demo-pit/latest")
    assert (page.status_code, api.status_code) == (500, 500)
    logged = capsys.readouterr().out
    for answer in (page, api):
        assert "secret inside" not in answer.text
        assert "Traceback" not in answer.text
    error_id = re.search(r"<code>([0-9a-f]{12})</code>", page.text)
    assert error_id is not None
    assert error_id[1] in logged
    assert "secret inside" in logged
    assert "Something went wrong here" in page.text


def test_static_files_are_only_those_we_ship(calm_site: RunningSite) -> None:
    with calm_site.client() as client:
        html = client.get("/login").text
        css = re.search(r'href="(/static/[0-9a-f]{12}/app\.css)"', html)
        assert css is not None
        found = client.get(css[1])
        assert (found.status_code, found.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        assert found.headers["content-encoding"] == "gzip"
        version = css[1].split("/")[2]
        for path in (
            f"/static/{version}/../app.py", f"/static/{version}/..%2fapp.py", "/static/000000000000/app.css",
            f"/static/{version}/none.js", "/static/plotly-000000000000.min.js", f"/static/{version}/%2e%2e",
        ):  # fmt: skip
            assert client.get(path).status_code == 404, path


def test_probes_answer_as_their_watchers_expect(site: RunningSite, world: World) -> None:
    from greenmine.web.backend import Check

    with site.client() as client:
        assert client.get("/healthz").text == "ok\n"
        assert client.head("/healthz").status_code == 200
        assert (client.get("/readyz").status_code, client.get("/readyz").json()["failing"]) == (200, [])
        world.operations.found.append(Check("store", False, "unreachable", "start InfluxDB"))
        down = client.get("/readyz")
        assert down.status_code == 503
        assert down.json() == {
            "ready": False,
            "failing": [{"name": "store", "ok": False, "detail": "unreachable", "advice": "start InfluxDB"}],
        }


def test_metrics_are_for_this_machine_admins_and_bearers(calm_site: RunningSite) -> None:
    away = {"x-forwarded-for": "203.0.113.9"}
    with calm_site.client() as client:
        near = client.get("/metrics")
        assert (near.status_code, near.text) == (200, "# EOF\n")
        assert near.headers["content-type"].startswith("application/openmetrics-text")
        assert client.get("/metrics", headers=away).status_code == 401
        assert client.get("/metrics", headers={**away, "authorization": "Bearer service-token"}).status_code == 200
    with calm_site.logged_in("li") as li, calm_site.logged_in("admin") as admin:
        assert li.get("/metrics", headers=away).status_code == 403
        assert admin.get("/metrics", headers=away).status_code == 200
