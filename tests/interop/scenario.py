"""A test file is a list of functions with sentences for names:

    from scenario import scenario, main
    @scenario("a wrong password is challenged, then 403")
    def _(c): ...
    main(setup)

`setup` is a context manager that gives what each scenario gets. Last line: `N passed, N failed`.
"""
import sys
import time
import traceback

_all = []


def scenario(sentence):
    def keep(function):
        _all.append((sentence, function))
        return function
    return keep


def main(setup):
    wanted = sys.argv[1:]
    passed = failed = 0
    chosen = [(s, f) for s, f in _all if not wanted or any(w in s for w in wanted)]
    try:
        with setup() as given:
            for sentence, function in chosen:
                started = time.monotonic()
                try:
                    function(given)
                except Exception:
                    failed += 1
                    print(f"FAIL {sentence}\n{traceback.format_exc()}", flush=True)
                else:
                    passed += 1
                    print(f"ok   {sentence} ({time.monotonic() - started:.1f} s)", flush=True)
            if failed:
                raise RuntimeError("see above")
    except Exception as e:
        if passed + failed < len(chosen):
            traceback.print_exc()
            failed += len(chosen) - passed - failed
        print(f"ended: {e}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(0 if failed == 0 and passed > 0 else 1)
