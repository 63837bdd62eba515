from kinoray.config.suggest import closest, did_you_mean


def test_the_nearest_come_first_whatever_their_case():
    assert closest("Depht", ["width", "depth", "depths", "DEPTHS2"]) == ["depth", "depths", "DEPTHS2"]


def test_nothing_near_is_no_remark():
    assert closest("momentum", ["lr"]) == []
    assert did_you_mean("momentum", ["lr"]) == ""


def test_a_near_word_is_a_remark():
    assert did_you_mean("TSM", ["tsn", "slowfast"]) == " (did you mean 'tsn'?)"
