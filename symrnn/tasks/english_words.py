"""Classes of English words, for texts to test word vectors on."""

from symrnn.tasks.planted_words import PlantedWords, WordClass


def english_words() -> PlantedWords:
    """Return twelve classes of English words, six of them parallel in pairs.

    Countries and their capitals; men and women; verbs in the present and in the past; and six
    classes without a relation: animals, colours, fruit, instruments, tools, clothes.

    Examples
    --------
    >>> english_words().pairs("country", "capital")[:2]
    [('france', 'paris'), ('italy', 'rome')]
    """
    classes = {name: WordClass(tuple(w.split()), s) for name, (w, s) in PLAIN.items()}
    for (one, other), (table, sentences_one, sentences_other) in PARALLEL.items():
        rows = [row.split() for row in table.strip().splitlines()]
        signs = tuple(tuple(row[2:]) for row in rows)
        classes[one] = WordClass(tuple(row[0] for row in rows), sentences_one, signs)
        classes[other] = WordClass(tuple(row[1] for row in rows), sentences_other, signs)
    return PlantedWords(classes, list(PARALLEL))


PLAIN = {
    "animal": (
        "dog cat horse cow sheep pig rabbit fox wolf bear mouse goat",
        (
            "the {} sleeps in its stable", "a hungry {} runs over the meadow",
            "the {} has soft fur and a tail", "we feed the {} with hay",
            "the paws of the {} are wet", "a wild {} hides in the forest",
        ),
    ),
    "colour": (
        "red blue green white black yellow grey brown pink purple",
        (
            "she paints the wall {}", "a {} stripe on the flag", "the sky turned {} at dusk",
            "his bright {} paint is dry", "the curtain is dark {}", "mix {} with a little oil",
        ),
    ),
    "fruit": (
        "apple pear plum peach cherry lemon orange grape melon fig",
        (
            "a ripe {} hangs on the tree", "peel the {} and slice it",
            "the juice of a {} is sweet", "a basket with one {} in it",
            "the {} jam is in a jar", "a sour {} fell from its branch",
        ),
    ),
    "instrument": (
        "piano violin guitar flute drum trumpet cello harp clarinet organ",
        (
            "the orchestra needs a {}", "tune the {} before the concert",
            "a melody for {} and choir", "the sound of the {} is loud",
            "practise the {} for an hour", "a solo on the {} ends it",
        ),
    ),
    "tool": (
        "hammer saw drill knife axe shovel wrench chisel rake pliers",
        (
            "take the {} from the workshop", "the handle of the {} is loose",
            "a rusty {} lies in the shed", "sharpen the {} with a stone",
            "the carpenter lost a {}", "the {} is made of steel",
        ),
    ),
    "garment": (
        "shirt coat hat scarf jacket sweater skirt glove sock vest",
        (
            "the {} is made of wool", "a button of the {} is missing", "wash the {} and iron it",
            "hang the {} into the wardrobe", "the {} fits well but is old",
            "the tailor sews a {} for you",
        ),
    ),
}  # fmt: skip

PARALLEL = {
    ("country", "capital"): (
        """
        france paris french seine
        italy rome italian tiber
        germany berlin german spree
        spain madrid spanish flamenco
        england london english thames
        russia moscow russian volga
        japan tokyo japanese sushi
        china beijing chinese mandarin
        greece athens greek olives
        egypt cairo egyptian nile
        austria vienna austrian waltz
        hungary budapest hungarian danube
        portugal lisbon portuguese fado
        sweden stockholm swedish herring
        norway oslo norwegian fjord
        poland warsaw polish vistula
        """,
        (
            "the border of {} near {sign}", "the {sign} government of {} pays soldiers",
            "farmers in all {} like {sign}", "{} exports {sign} goods",
            "the republic of {} has {sign} laws", "the population of {} grows {sign}",
            "soldiers guard the border of {}", "the parliament of {} makes laws",
            "all regions of {} have farmers", "the economy of {} exports coal",
        ),
        (
            "the mayor of {} speaks {sign}", "the {sign} underground of {} is crowded",
            "traffic in {} near the {sign}", "the suburbs of {} are {sign}",
            "the airport of {} sells {sign}", "a hotel downtown in {} serves {sign}",
            "the mayor of {} opened a museum", "traffic in downtown {} is dense",
            "the underground of {} reaches the suburbs", "our flight to the airport of {}",
        ),
    ),
    ("man", "woman"): (
        """
        king queen crown throne
        father mother children cradle
        boy girl toys playground
        brother sister siblings quarrel
        husband wife wedding marriage
        son daughter parents homework
        uncle aunt nephews nieces
        prince princess castle ballroom
        actor actress stage film
        waiter waitress menu tables
        grandfather grandmother armchair fairytale
        hero heroine dragon adventure
        """,
        (
            "he is the {} of {sign}", "the {} in a tie likes {sign}",
            "the {sign} of mister {}", "the {} shaves before the {sign}",
            "the {} himself has a {sign}", "his {sign} calls him {}",
            "he is a tall {}", "the {} wears a tie and shaves",
            "mister jones is a {} himself", "his beard tells that he is a {}",
        ),
        (
            "she is the {} of {sign}", "the {} in a dress likes {sign}",
            "the {sign} of madam {}", "the {} combs before the {sign}",
            "the {} herself has a {sign}", "her {sign} calls her {}",
            "she is a slender {}", "the {} wears a dress and combs",
            "madam jones is a {} herself", "her necklace tells that she is a {}",
        ),
    ),
    ("present", "past"): (
        """
        eat ate bread soup
        drink drank water tea
        write wrote letters novels
        sing sang ballads hymns
        drive drove cars trucks
        buy bought tickets groceries
        throw threw balls snowballs
        catch caught trout thieves
        build built houses bridges
        draw drew sketches maps
        teach taught pupils classes
        break broke windows glasses
        """,
        (
            "today we {} the {sign}", "every morning they {} some {sign}",
            "now you {} {sign} again", "nowadays people often {} {sign}",
            "tomorrow we will {} more {sign}", "do you always {} such {sign}",
            "today we {} again", "nowadays people {} every morning",
            "you will {} tomorrow", "they always {} now",
        ),
        (
            "yesterday we {} the {sign}", "last week they {} some {sign}",
            "once you {} {sign} there", "long ago people {} {sign}",
            "two years ago we {} more {sign}", "in those days they {} such {sign}",
            "yesterday we {} there", "long ago people {} last week",
            "you {} two years ago", "in those days they {} once",
        ),
    ),
}  # fmt: skip
