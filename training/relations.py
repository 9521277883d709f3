"""What the reader's world can say: its relations, and the frames in which each is stated and asked.

A frame is a sentence with slots. The notation, expanded by `world.py`:

    {s} {s's} {obj}   the subject: Mira / Mira's / Mira, in the first person I / my / me
    {v}               the value
    <lives/live>      third person / first person; {is} {was} {has} {does} are short for the common ones
    [a|b|c]           synonyms, one of which is drawn

`says` are clauses, `asks` direct questions, `knows` the same as dependent clauses ("where Mira lives"), `nouns` names
of the relation from which more statements and questions are composed ("Mira's home town is ..."), and `who` asks for
the subject. Frames stand without capital and without end mark; the composition adds both.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Relation:
    """One thing that can be known about a subject. `subject` and `value` name generators of `pools.py`."""

    name: str
    subject: str
    value: str
    says: tuple[str, ...]
    asks: tuple[str, ...]
    knows: tuple[str, ...] = ()
    nouns: tuple[str, ...] = ()
    who: tuple[str, ...] = ()


def _split(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines() if line.strip())


def _relation(name: str, subject: str, value: str, says: str, asks: str, knows: str, nouns: str, who: str) -> Relation:
    return Relation(name, subject, value, _split(says), _split(asks), _split(knows), _split(nouns), _split(who))


RELATIONS: tuple[Relation, ...] = (
    _relation(
        "lives_in", "person", "city",
        """{s} <lives/live> in {v}
        {s} [<resides/reside>|{is} based|{is} settled] in {v}
        {s} {has} [a flat|a house|an apartment|a place] in {v}
        {s} [<calls/call> {v} home|<makes/make> {their} home in {v}]
        {v} is where {s} <lives/live>
        {s} moved to {v} [last year|a while ago|in spring|for good]
        {s} [<rents/rent>|<owns/own>] [a flat|a small house] in {v}
        home for {obj} is {v}""",
        """where <does/do> {s} live
        [in which|in what] [city|town] <does/do> {s} live
        which [city|town|place] <does/do> {s} [call home|live in|reside in]
        where {is} {s} [based|living|settled]
        where is {s's} [home|house|flat|apartment]
        where <does/do> {s} [reside|make {their} home]
        what place <does/do> {s} call home""",
        """where {s} <lives/live>
        [which|what] [city|town] {s} <lives/live> in
        where {s} {is} based
        where {s's} home is""",
        """home town
        city of residence
        place of residence
        home""",
        """who [lives|resides|is based|is living] in {v}
        who has [a flat|a house|a home] in {v}
        who calls {v} home
        whose home is [in|] {v}""",
    ),
    _relation(
        "born_in", "person", "city",
        """{s} {was} born in {v}
        {s} <comes/come> from {v}
        {s} {is} [originally|] from {v}
        {s} grew up in {v}
        {v} is where {s} {was} born
        {s} [spent {their} childhood|went to school as a child] in {v}
        {s's} family is from {v}""",
        """where {was} {s} born
        where {is} {s} [originally|] from
        where <does/do> {s} come from
        where did {s} grow up
        in [which|what] [city|town] {was} {s} born
        which place did {s} grow up in""",
        """where {s} {was} born
        where {s} <comes/come> from
        where {s} grew up
        which [town|city] {s} {is} from""",
        """birthplace
        place of birth
        city of birth""",
        """who was born in {v}
        who [comes|is originally] from {v}
        who grew up in {v}""",
    ),
    _relation(
        "works_at", "person", "company",
        """{s} <works/work> [at|for] {v}
        {s} {is} employed [at|by] {v}
        {s} {has} a job [at|with] {v}
        {s} [joined|started at] {v} [last month|this year|recently|in May]
        {v} [hired|employs|pays] {obj}
        {s} <earns/earn> {their} [money|salary] at {v}
        {v} is the company {s} <works/work> for""",
        """where <does/do> {s} work
        [which|what] [company|firm] <does/do> {s} work for
        who <does/do> {s} work for
        where {is} {s} employed
        [which|what] [company|firm] [employs|hired|pays] {obj}
        at which [company|firm] <does/do> {s} have a job""",
        """where {s} <works/work>
        [which|what] [company|firm] {s} <works/work> for
        where {s} {is} employed
        who {s} <works/work> for""",
        """employer
        company
        place of work""",
        """who works [at|for] {v}
        who is employed [at|by] {v}
        who did {v} hire
        who has a job at {v}""",
    ),
    _relation(
        "job", "person", "job",
        """{s} <works/work> as {a v}
        {s} {is} {a v}
        {s} {is} {a v} by [profession|trade|training]
        {s} <earns/earn> {their} living as {a v}
        {s} [became|trained as|got a job as] {a v}
        {s} [<makes/make> money|<spends/spend> {their} days] as {a v}
        professionally, {s} {is} {a v}""",
        """what <does/do> {s} do for [a living|work]
        what {is} {s} by [profession|trade]
        what [job|profession|trade] <does/do> {s} have
        what <does/do> {s} work as
        what {is} {s} employed as
        what kind of [work|job] <does/do> {s} do""",
        """what {s} <does/do> for [a living|work]
        what {s} <works/work> as
        what kind of [work|job] {s} <does/do>
        which profession {s} {has}""",
        """job
        profession
        occupation
        line of work""",
        """who works as {a v}
        who is {a v}
        who earns a living as {a v}""",
    ),
    _relation(
        "favorite_food", "person", "food",
        """{s} <loves/love> [eating|] {v}
        {s} [<likes/like>|<enjoys/enjoy>] {v} [most of all|more than any other food|best]
        nothing tastes better to {obj} than {v}
        {s} would eat {v} every [day|night|week]
        the [dish|food|meal] {s} [<likes/like>|<loves/love>] [most|best] is {v}
        {s} [<craves/crave>|<adores/adore>] {v}
        {s} <goes/go> for {v} whenever it is on the menu""",
        """what <does/do> {s} [like|love] to eat
        what [food|dish|meal] <does/do> {s} [like|love|enjoy] [most|best]
        which [food|dish|meal] <does/do> {s} [crave|adore|prefer]
        what would {s} eat every day
        what <does/do> {s} eat with the greatest pleasure""",
        """what {s} <likes/like> to eat
        which [dish|food|meal] {s} [<likes/like>|<loves/love>|<enjoys/enjoy>] [most|best]
        what {s} would eat every day""",
        """favorite food
        favorite dish
        favourite meal
        preferred dish""",
        """who [loves|craves|adores|enjoys] {v}
        who would eat {v} every day
        whose favorite [food|dish] is {v}""",
    ),
    _relation(
        "favorite_drink", "person", "drink",
        """{s} <drinks/drink> {v} [every morning|all day|with every meal]
        {s} always <orders/order> {v}
        {s} <starts/start> the day with {v}
        {s} [<likes/like>|<enjoys/enjoy>] [drinking|to drink] {v}
        the drink {s} [<likes/like>|<loves/love>] [most|best] is {v}
        [get|bring|offer] {obj} {v} [when {s} {is} thirsty|to drink]
        {v} is what {s} <drinks/drink>""",
        """what <does/do> {s} [like to drink|drink]
        what <does/do> {s} [drink|order] every morning
        which drink <does/do> {s} [like|love|enjoy|prefer] [most|best]
        what should I [get|bring|offer] {obj} to drink
        what <does/do> {s} start the day with
        what <does/do> {s} always order to drink""",
        """what {s} <likes/like> to drink
        which drink {s} [<likes/like>|<loves/love>|<prefers/prefer>]
        what {s} <drinks/drink>""",
        """favorite drink
        drink of choice
        favourite beverage""",
        """who drinks {v}
        who always orders {v}
        whose favorite drink is {v}""",
    ),
    _relation(
        "favorite_color", "person", "color",
        """{s} [<likes/like>|<loves/love>|<prefers/prefer>] the [color|colour] {v}
        {s} always <wears/wear> {v}
        the [color|colour] {s} [<likes/like>|<loves/love>] [most|best] is {v}
        {s} [painted|would paint] everything {v}
        of all [colors|colours], {s} <likes/like> {v} best
        {s} <buys/buy> everything in {v}""",
        """[what|which] [color|colour] <does/do> {s} [like|love|prefer|wear] [most|best|]
        in which [color|colour] <does/do> {s} buy everything
        what [color|colour] would {s} paint everything
        of all [colors|colours], which <does/do> {s} like best""",
        """[what|which] [color|colour] {s} [<likes/like>|<loves/love>|<prefers/prefer>]
        which [color|colour] {s} always <wears/wear>""",
        """favorite color
        favourite colour
        color of choice""",
        """who [likes|loves|prefers] the [color|colour] {v}
        who always wears {v}
        whose favorite color is {v}""",
    ),
    _relation(
        "hobby", "person", "hobby",
        """{s} <spends/spend> {their} [weekends|free time|evenings] {v}
        {s} <enjoys/enjoy> {v} [on Sundays|after work|in {their} free time]
        {s} {is} [really|] into {v}
        {s} took up {v} [last year|recently|as a hobby]
        {s} <relaxes/relax> by {v}
        after work, {s} [<likes/like>|<loves/love>] {v}
        what {s} <does/do> for fun is {v}""",
        """what <does/do> {s} do [for fun|after work|at the weekend|on weekends]
        what <does/do> {s} do in {their} [free|spare] time
        how <does/do> {s} [relax|spend {their} free time|spend {their} weekends]
        what {is} {s} into
        what did {s} take up""",
        """what {s} <does/do> for fun
        how {s} <spends/spend> {their} [weekends|free time]
        how {s} <relaxes/relax>
        what {s} {is} into""",
        """hobby
        pastime
        favorite pastime
        leisure activity""",
        """who spends [weekends|free time] {v}
        who is into {v}
        who relaxes by {v}
        whose hobby is {v}""",
    ),
    _relation(
        "instrument", "person", "instrument",
        """{s} <plays/play> the {v}
        {s} {is} [learning|practising] the {v}
        {s} <takes/take> {v} lessons
        {s} [bought|owns|got] a [new|second-hand] {v} to play
        {s} <performs/perform> on the {v}
        the instrument {s} <plays/play> is the {v}
        {s} [can play|knows how to play] the {v}""",
        """[what|which] [musical|] instrument <does/do> {s} play
        [what|which] instrument {is} {s} [learning|practising]
        what <does/do> {s} play in a band
        which instrument can {s} play
        in which instrument <does/do> {s} take lessons""",
        """[what|which] instrument {s} <plays/play>
        which instrument {s} {is} learning
        what {s} can play""",
        """instrument
        musical instrument""",
        """who [plays|can play|is learning|performs on] the {v}
        who takes {v} lessons
        whose instrument is the {v}""",
    ),
    _relation(
        "speaks", "person", "language",
        """{s} <speaks/speak> {v} [at home|fluently|well|]
        {s} {is} fluent in {v}
        {s} grew up speaking {v}
        {s} [learned|learnt] {v} [at school|years ago]
        {s} [can talk|can converse] in {v}
        the language {s} <speaks/speak> is {v}
        {s} <talks/talk> to {their} [parents|family] in {v}""",
        """[what|which] language <does/do> {s} [speak|talk in]
        in [which|what] language {is} {s} fluent
        [what|which] language did {s} [learn|study|grow up speaking]
        what <does/do> {s} speak at home
        which language can {s} converse in""",
        """[what|which] language {s} <speaks/speak>
        which language {s} {is} fluent in
        what {s} <speaks/speak> at home""",
        """language
        mother tongue
        native language""",
        """who speaks {v}
        who is fluent in {v}
        who [learned|learnt] {v}
        who can talk in {v}""",
    ),
    *(
        _relation(
            role, "person", "name",
            f"""{{s's}} {noun} is [called|named] {{v}}
            {{v}} is {{s's}} {noun}
            {{s}} {{has}} a {noun} [called|named] {{v}}
            {{s's}} {noun}, {{v}}, [came along|called|sends regards|is visiting]
            {{s}} introduced {{v}} as {{their}} {noun}
            the name of {{s's}} {noun} is {{v}}
            {extra}""",
            f"""what is {{s's}} {noun} [called|named]
            what is the name of {{s's}} {noun}
            [who is|what's the name of] {{s's}} {noun}
            what <does/do> {{s}} call {{their}} {noun}
            which name does {{s's}} {noun} have
            {extra_ask}""",
            f"""what {{s's}} {noun} is [called|named]
            who {{s's}} {noun} is
            the name of {{s's}} {noun}""",
            f"""{noun}
            {noun}'s name""",
            f"""whose {noun} is {{v}}
            who has a {noun} [called|named] {{v}}
            {{v}} is the {noun} of whom""",
        )
        for role, noun, extra, extra_ask in (
            ("sister", "sister", "{s} grew up with {their} sister {v}", "which sister did {s} grow up with"),
            ("brother", "brother", "{s} <shares/share> a room with {their} brother {v}", "which brother shares a room with {obj}"),
            ("partner", "partner", "{s} {is} [married to|in love with] {v}",
             "who {is} {s} [married to|in love with]"),
            ("boss", "boss", "{s} [<reports/report> to|<answers/answer> to] {v}",
             "who <does/do> {s} [report to|answer to]"),
            ("best_friend", "best friend", "{s} <trusts/trust> {v} more than any other friend",
             "which friend <does/do> {s} trust most"),
            ("mentor", "mentor", "{s} <learns/learn> a lot from {v}", "who <does/do> {s} learn a lot from"),
            ("neighbour", "neighbour", "{s} <lives/live> next door to {v}", "who lives next door to {obj}"),
            ("doctor", "doctor", "{s} <sees/see> {v} for a check-up", "who <does/do> {s} see for a check-up"),
        )
    ),
    *(
        _relation(
            animal, "person", "petname",
            f"""{{s's}} {animal} is [called|named] {{v}}
            {{s}} {{has}} a {animal} [called|named] {{v}}
            {{v}} is {{s's}} {animal}
            {{s}} [adopted|got|bought] a {animal} [called|named] {{v}}
            {{s}} named {{their}} {animal} {{v}}
            {{s}} [<feeds/feed>|<looks after/look after>] {{their}} {animal} {{v}}
            the name of {{s's}} {animal} is {{v}}""",
            f"""what is {{s's}} {animal} [called|named]
            what is the name of {{s's}} {animal}
            what did {{s}} name {{their}} {animal}
            what <does/do> {{s}} call {{their}} {animal}
            which name does {{s's}} {animal} have""",
            f"""what {{s's}} {animal} is [called|named]
            what {{s}} named {{their}} {animal}
            the name of {{s's}} {animal}""",
            f"""{animal}
            {animal}'s name""",
            f"""whose {animal} is [called|named|] {{v}}
            who has a {animal} [called|named] {{v}}
            who owns the {animal} {{v}}""",
        )
        for animal in ("dog", "cat", "parrot", "horse")
    ),
    _relation(
        "phone", "person", "digits",
        """{s's} [phone|] extension is {v}
        you can [reach|call|ring] {obj} [at|on] {v}
        to [reach|call|ring] {obj}, dial {v}
        {s} can be reached [at|on] {v}
        {s} [<answers/answer> the phone|<picks/pick> up] at {v}
        {s} gave me {v} as {their} [phone|] number
        the number to [reach|call|ring] {obj} is {v}""",
        """[what|which] number [should I dial|do I dial] to [reach|call|ring] {obj}
        how can I [reach|call|ring] {obj}
        on [what|which] [number|extension] can {s} be reached
        where can I [reach|call|ring] {obj}
        [what|which] extension <does/do> {s} have""",
        """how to [reach|call|ring] {obj}
        [what|which] number to dial for {obj}
        which extension {s} {has}""",
        """phone number
        phone extension
        number
        telephone number""",
        """who can be reached [at|on] {v}
        whose [extension|number|phone number] is {v}
        who [answers|picks up] at {v}""",
    ),
    _relation(
        "badge", "person", "code",
        """{s's} badge [number|] is {v}
        {s} <carries/carry> badge {v}
        {s} {was} [given|issued] badge {v}
        badge {v} [belongs to|was given to|was issued to] {obj}
        {s} <opens/open> the gate with badge {v}
        the badge of {s} [says|reads|shows] {v}""",
        """[what|which] badge <does/do> {s} [carry|have]
        [what|which] badge {was} {s} [given|issued]
        which badge [belongs to|was given to|was issued to] {obj}
        what does {s's} badge [say|read|show]
        with which badge <does/do> {s} open the gate""",
        """[what|which] badge {s} <carries/carry>
        which badge belongs to {obj}
        what {s's} badge says""",
        """badge
        badge number
        badge code""",
        """who [carries|was given|was issued] badge {v}
        whose badge is {v}
        to whom does badge {v} belong""",
    ),
    _relation(
        "allergy", "person", "allergen",
        """{s} {is} allergic to {v}
        {s} [cannot eat|can't have|must avoid] {v} because of an allergy
        {v} [makes {obj} ill|gives {obj} a rash]
        {s} {has} an allergy to {v}
        {s} <reacts/react> badly to {v}
        {s} <gets/get> a rash from {v}
        keep {v} away from {obj}""",
        """what {is} {s} allergic to
        what [makes {obj} ill|gives {obj} a rash]
        what [must {s} avoid|can {s} not eat]
        what <does/do> {s} react badly to
        what allergy <does/do> {s} have
        what should be kept away from {obj}""",
        """what {s} {is} allergic to
        what {s} must avoid
        what makes {obj} ill""",
        """allergy
        food allergy""",
        """who is allergic to {v}
        who [cannot eat|must avoid|reacts badly to] {v}
        who has an allergy to {v}""",
    ),
    _relation(
        "dislikes", "person", "food",
        """{s} [<hates/hate>|<dislikes/dislike>|cannot stand|can't stand] {v}
        {s} never <eats/eat> {v}
        {s} <finds/find> {v} [disgusting|awful|horrible]
        {s} [<refuses/refuse> to eat|won't touch] {v}
        please never [serve|give] {obj} {v}
        {v} is [the one thing|something] {s} [cannot stand|won't touch]""",
        """what <does/do> {s} [hate|dislike]
        what [can {s} not stand|can't {s} stand|won't {s} touch]
        which food <does/do> {s} [hate|dislike|never eat]
        what <does/do> {s} find [disgusting|awful|horrible]
        what <does/do> {s} refuse to eat
        what should I never [serve|give] {obj}""",
        """what {s} [<hates/hate>|<dislikes/dislike>]
        which food {s} cannot stand
        what {s} never <eats/eat>""",
        """least favorite food
        most hated dish""",
        """who [hates|dislikes|cannot stand] {v}
        who never eats {v}
        who finds {v} [disgusting|awful|horrible]""",
    ),
    _relation(
        "birthday", "person", "date",
        """{s's} birthday is [on|] {v}
        {s} {was} born on {v}
        {s} <celebrates/celebrate> {their} birthday on {v}
        {s} <turns/turn> a year older on {v}
        we [have cake|throw a party] for {obj} on {v}, {their} birthday
        on {v}, it is {s's} birthday""",
        """when is {s's} birthday
        [when|on what date|on which day] {was} {s} born
        [when|on which day] <does/do> {s} celebrate {their} birthday
        when <does/do> {s} turn a year older
        what date is {s's} birthday""",
        """when {s's} birthday is
        when {s} {was} born
        on which day {s} <celebrates/celebrate> {their} birthday""",
        """birthday
        date of birth
        birth date""",
        """who was born on {v}
        whose birthday is [on|] {v}
        who celebrates a birthday on {v}
        who turns a year older on {v}""",
    ),
    _relation(
        "studies", "person", "subject",
        """{s} <studies/study> {v}
        {s} {is} [doing|taking] a degree in {v}
        {s} {is} a student of {v}
        {s} [signed up for|started] a course in {v}
        {s} {is} [reading|learning] {v} at [university|college]
        the subject {s} [<studies/study>|chose] is {v}
        {s} [<goes/go> to lectures on|<takes/take> classes in] {v}""",
        """what <does/do> {s} study
        [what|which] subject <does/do> {s} [study|take]
        in [what|which] subject {is} {s} [doing|taking] a degree
        what {is} {s} [learning|reading] at [university|college]
        what did {s} sign up for
        which lectures <does/do> {s} go to""",
        """what {s} <studies/study>
        [what|which] subject {s} <studies/study>
        what {s} {is} taking a degree in""",
        """subject
        field of study
        degree""",
        """who [studies|is a student of] {v}
        who is taking a degree in {v}
        who takes classes in {v}""",
    ),
    _relation(
        "drives", "person", "car",
        """{s} <drives/drive> a {v}
        {s} [bought|owns|got] a {v} [last week|this year|recently]
        {s} <goes/go> to work in a {v}
        the car {s} [<drives/drive>|owns] is a {v}
        {s} [parked|washed|repaired] {their} {v} outside
        {s} <gets/get> around in a {v}""",
        """[what|which] car <does/do> {s} [drive|own|have]
        what <does/do> {s} drive
        what kind of car [<does/do> {s} drive|did {s} buy]
        in what <does/do> {s} go to work
        what <does/do> {s} get around in""",
        """[what|which] car {s} <drives/drive>
        what {s} <drives/drive>
        what kind of car {s} {has}""",
        """car
        vehicle""",
        """who [drives|bought|owns] a {v}
        whose car is a {v}
        who goes to work in a {v}""",
    ),
    _relation(
        "reading", "person", "title",
        """{s} {is} reading {v}
        {s} [bought|borrowed|picked up] a copy of {v}
        {s} cannot put {v} down
        the book {s} {is} reading is {v}
        {s} [started|opened] {v} [yesterday|last night|this week]
        {s} {has} {v} on {their} [night table|desk]""",
        """what {is} {s} reading
        [what|which] book {is} {s} reading
        [what|which] book did {s} [buy|borrow|start|pick up]
        which book [can {s} not put down|lies on {s's} night table]
        of which book did {s} buy a copy""",
        """[what|which] book {s} {is} reading
        what {s} {is} reading
        which book {s} [bought|borrowed|started]""",
        """current book
        book
        reading""",
        """who is reading {v}
        who [bought|borrowed] a copy of {v}
        who cannot put {v} down""",
    ),
    _relation(
        "band", "person", "band",
        """{s} <listens/listen> to {v} [all day|at work|all the time]
        {s} {is} a [big|huge|] fan of {v}
        the band {s} [<likes/like>|<loves/love>] [most|best] is {v}
        {s} [went to|bought tickets for] a concert of {v}
        {s} <owns/own> every record of {v}
        {s} <plays/play> the records of {v} [at home|in the car]""",
        """[what|which] band <does/do> {s} [like|love|listen to] [most|best|]
        [what|which] music <does/do> {s} listen to
        of which band {is} {s} a fan
        who <does/do> {s} listen to at work
        which band's concert did {s} go to
        which band's records <does/do> {s} own""",
        """[what|which] band {s} [<likes/like>|<loves/love>]
        what music {s} <listens/listen> to
        which band {s} {is} a fan of""",
        """favorite band
        favourite group
        preferred band""",
        """who [listens to|is a fan of] {v}
        who went to a concert of {v}
        who owns every record of {v}""",
    ),
    _relation(
        "sport", "person", "sport",
        """{s} <does/do> {v} [twice a week|every day|on Saturdays]
        {s} <trains/train> for {v}
        {s} {is} [in|a member of] a {v} club
        {s} [<competes/compete>|won a medal] in {v}
        {s} <keeps/keep> fit [with|by doing] {v}
        the sport {s} <does/do> is {v}""",
        """[what|which] sport <does/do> {s} [do|train for|compete in]
        in [what|which] sport [did {s} win a medal|<does/do> {s} compete]
        how <does/do> {s} keep fit
        what <does/do> {s} train for
        what kind of club {is} {s} in""",
        """[what|which] sport {s} <does/do>
        how {s} <keeps/keep> fit
        what {s} <trains/train> for""",
        """sport
        favorite sport""",
        """who [does|trains for|competes in] {v}
        who is in a {v} club
        who keeps fit by doing {v}""",
    ),
    _relation(
        "holiday", "person", "city",
        """{s} {is} [flying|travelling|going] to {v} [on holiday|for a holiday|on vacation]
        {s} booked a [trip|flight] to {v}
        {s} [<plans/plan>|<wants/want>] to [visit|see] {v}
        {s's} next [trip|holiday|vacation] is to {v}
        {s} [will spend|is spending] [the summer|the holidays] in {v}
        for the holidays, {s} {is} going to {v}""",
        """where {is} {s} [flying|travelling|going] [on holiday|on vacation]
        where did {s} book a [trip|flight] to
        which place <does/do> {s} [plan|want] to [visit|see]
        where will {s} spend [the summer|the holidays]
        where {is} {s} going for the holidays""",
        """where {s} {is} [going|travelling] on [holiday|vacation]
        which place {s} <wants/want> to [visit|see]
        where {s} will spend the holidays""",
        """holiday destination
        next trip
        travel destination""",
        """who is [flying|travelling|going] to {v} [on holiday|]
        who booked a [trip|flight] to {v}
        who wants to [visit|see] {v}""",
    ),
    _relation(
        "room", "person", "room",
        """{s} <sits/sit> in room {v}
        {s's} [office|desk] is in room {v}
        {s} [{is} now|{is}] in room {v}
        room {v} [belongs to|is used by|was given to] {obj}
        you [can find|will find] {obj} in room {v}
        {s} moved [to|into] room {v}""",
        """[which|what] room <does/do> {s} [sit|work] in
        in [which|what] room [can I find {obj}|is {s's} office|is {s's} desk]
        where [can I find {obj}|is {s's} office|is {s's} desk]
        which room [belongs to|is used by] {obj}
        which room did {s} move into""",
        """[which|what] room {s} <sits/sit> in
        where {s's} [office|desk] is
        in which room to find {obj}""",
        """room
        room number
        office""",
        """who [sits|works] in room {v}
        whose [office|desk] is in room {v}
        to whom does room {v} belong""",
    ),
    _relation(
        "wakes", "person", "time",
        """{s} [<gets/get> up|<wakes/wake> up|<rises/rise>] at {v}
        {s's} [alarm|alarm clock] [rings|goes off] at {v}
        {s} set {their} alarm for {v}
        {s} {is} out of bed at {v}
        {s's} day [starts|begins] at {v}
        do not call {obj} before {v}, when {s} <gets/get> up""",
        """[when|at what time] <does/do> {s} [get up|wake up|rise]
        when does {s's} [alarm|alarm clock] [ring|go off]
        when {is} {s} out of bed
        when does {s's} day [start|begin]
        for what time did {s} set {their} alarm""",
        """[when|at what time] {s} [<gets/get> up|<wakes/wake> up]
        when {s's} alarm [rings|goes off]
        when {s's} day starts""",
        """wake-up time
        time of getting up""",
        """who [gets up|wakes up|rises] at {v}
        whose alarm [rings|goes off] at {v}
        whose day starts at {v}""",
    ),
    _relation(
        "collects", "person", "collectible",
        """{s} <collects/collect> {v}
        {s} {has} a [large|big|huge] collection of {v}
        {s} [<buys/buy>|<hunts/hunt> for] {v} at [flea markets|every market]
        {s} [filled a shelf|filled a room] with {v}
        {s} cannot resist [buying|] {v}
        {s's} shelves are full of {v}""",
        """what <does/do> {s} collect
        what <does/do> {s} have a collection of
        what <does/do> {s} [buy|hunt for] at flea markets
        what can {s} not resist
        what are {s's} shelves full of
        what did {s} fill a shelf with""",
        """what {s} <collects/collect>
        what {s} {has} a collection of
        what {s's} shelves are full of""",
        """collection
        collected items""",
        """who collects {v}
        who has a collection of {v}
        whose shelves are full of {v}
        who cannot resist {v}""",
    ),
    _relation(
        "gift", "person", "gift",
        """{s} [<wants/want>|would like|<wishes/wish> for] {v} [for {their} birthday|as a present|as a gift]
        {s} [asked|hopes] for {v} [as a present|for {their} birthday]
        a good [gift|present] for {obj} would be {v}
        {s} <dreams/dream> of getting {v} [as a present|]
        give {obj} {v} as a [gift|present]
        the [gift|present] {s} <wants/want> is {v}""",
        """what <does/do> {s} [want|wish for] [for {their} birthday|as a present|as a gift]
        what would {s} like [for {their} birthday|as a present|as a gift]
        what would be a good [gift|present] for {obj}
        what should I give {obj} as a [gift|present]
        which [gift|present] did {s} ask for""",
        """what {s} <wants/want> [for {their} birthday|as a present]
        what to give {obj} as a [gift|present]
        which [gift|present] {s} would like""",
        """birthday wish
        wished-for present
        gift idea""",
        """who [wants|wishes for|asked for] {v} [as a present|for a birthday]
        who would like {v} as a present
        for whom would {v} be a good [gift|present]""",
    ),
    _relation(
        "commute", "person", "transport",
        """{s} <goes/go> to work by {v}
        {s} <travels/travel> by {v} [every day|each morning]
        {s} <takes/take> the {v} to [work|the office]
        {s} <gets/get> to [work|the office] by {v}
        every morning {s} <takes/take> the {v}
        {s} <prefers/prefer> the {v} for getting to work""",
        """how <does/do> {s} [go|get|travel] to [work|the office]
        by what means <does/do> {s} [go|travel] to work
        what <does/do> {s} take to [work|the office]
        [what|which] transport <does/do> {s} [use|prefer|take]
        how <does/do> {s} travel every day""",
        """how {s} <goes/go> to work
        how {s} <gets/get> to [work|the office]
        what {s} <takes/take> to work""",
        """commute
        means of transport
        way to work""",
        """who [goes|gets|travels] to work by {v}
        who takes the {v} to [work|the office]""",
    ),
    _relation(
        "style", "person", "style",
        """{s} [<prefers/prefer>|<likes/like>|<wants/want>] {v} answers
        {s} [asked|<asks/ask>] for {v} answers
        answers for {obj} should be {v}
        [please keep|keep] answers to {obj} {v}
        {s} <likes/like> it when answers are {v}
        when you write to {obj}, be {v}""",
        """what kind of answers <does/do> {s} [prefer|like|want|ask for]
        how <does/do> {s} [like|want] {their} answers
        how should answers for {obj} be
        how should I write to {obj}
        which style of answer <does/do> {s} prefer""",
        """what kind of answers {s} [<prefers/prefer>|<likes/like>]
        how answers for {obj} should be
        how to write to {obj}""",
        """preferred style of answer
        answer style
        writing preference""",
        """who [prefers|likes|wants|asked for] {v} answers
        for whom should answers be {v}""",
    ),
    _relation(
        "appointment", "person", "weekday",
        """{s} {has} [an appointment|a dentist appointment|a check-up] on {v}
        {s} {is} [away|out of the office|off] on {v}
        {s's} appointment is on {v}
        {s} cannot [meet|come] on {v} because of an appointment
        on {v}, {s} {has} an appointment
        {s} {is} [due|expected] at the clinic on {v}""",
        """[when|on which day] <does/do> {s} have [an appointment|a dentist appointment|a check-up]
        on [which|what] day {is} {s} [away|out of the office|off]
        [when|on which day] is {s's} appointment
        on which day can {s} not [meet|come]
        when {is} {s} [due|expected] at the clinic""",
        """[when|on which day] {s's} appointment is
        when {s} {has} an appointment
        on which day {s} {is} away""",
        """appointment
        day off
        appointment day""",
        """who has an appointment on {v}
        who is [away|off|out of the office] on {v}
        whose appointment is on {v}""",
    ),
    _relation(
        "project_lead", "project", "name",
        """{v} [leads|runs|heads|manages] {s}
        {s} is [led|run|headed|managed] by {v}
        {v} is in charge of {s}
        {v} took over {s} [last week|in March|recently]
        {s} is under the [lead|direction] of {v}
        the [lead|head|manager] of {s} is {v}
        {v} is responsible for {s}""",
        """who [leads|runs|heads|manages] {s}
        who is in charge of {s}
        by whom is {s} [led|run|headed|managed]
        who took over {s}
        who is responsible for {s}
        under whose [lead|direction] is {s}""",
        """who [leads|runs|heads|manages] {s}
        who is in charge of {s}
        who is responsible for {s}""",
        """lead
        project manager
        head""",
        """[what|which project] does {v} [lead|run|head|manage]
        what is {v} [in charge of|responsible for]
        which project did {v} take over""",
    ),
    _relation(
        "deadline", "project", "date",
        """{s} is due [on|by] {v}
        the deadline [for|of] {s} is {v}
        {s} must be [finished|done|delivered|ready] by {v}
        we [have to|must] [finish|deliver|ship] {s} by {v}
        {s} [ships|launches|ends] on {v}
        {v} is the last day for {s}
        the [client|team] expects {s} on {v}""",
        """when is {s} due
        when [must|does] {s} [have to be|need to be|be] [finished|done|delivered|ready]
        by when must we [finish|deliver|ship] {s}
        when does {s} [ship|launch|end]
        what is the last day for {s}
        when does the client expect {s}""",
        """when {s} is due
        by when {s} must be [finished|done|delivered|ready]
        when {s} [ships|launches|ends]""",
        """deadline
        due date
        delivery date""",
        """[what|which project] is due [on|by] {v}
        which project [ships|launches|ends] on {v}
        what must be [finished|ready|delivered] by {v}""",
    ),
    _relation(
        "project_code", "project", "code",
        """the [code|booking code|cost code] [for|of] {s} is {v}
        {s} runs under [the code|code] {v}
        {s} is [filed|booked|registered] under {v}
        use {v} as the code for {s}
        book your hours on {v} for {s}
        {v} stands for {s}""",
        """under [which|what] code [does {s} run|is {s} filed|is {s} booked|is {s} registered]
        [which|what] code should I use for {s}
        on [which|what] code do I book hours for {s}
        what code stands for {s}
        how is {s} registered""",
        """under [which|what] code {s} is [filed|booked|registered]
        which code to use for {s}
        what code {s} runs under""",
        """code
        cost code
        booking code""",
        """[what|which project] [runs|is filed|is booked|is registered] under {v}
        what does {v} stand for
        for which project is {v} the code""",
    ),
    _relation(
        "budget", "project", "money",
        """the budget [for|of] {s} is {v}
        {s} [costs|will cost] {v}
        {s} has a budget of {v}
        we [set aside|got|were granted] {v} for {s}
        {s} may cost [at most|up to|no more than] {v}
        {v} was [approved|granted|set aside] for {s}""",
        """[how much|what] does {s} cost
        how much [money|] was [approved|granted|set aside] for {s}
        how much may {s} cost
        how [large|big|high] is the budget of {s}
        what budget does {s} have""",
        """how much {s} [costs|may cost]
        how large the budget of {s} is
        how much was [approved|set aside] for {s}""",
        """budget
        cost
        price""",
        """[what|which project] has a budget of {v}
        which project costs {v}
        for what was {v} [approved|granted|set aside]""",
    ),
    _relation(
        "client", "project", "company",
        """the [client|customer] [for|of] {s} is {v}
        {s} is [built|made|done] for {v}
        {v} [ordered|commissioned|pays for] {s}
        we [build|make|do] {s} for {v}
        {s} was [ordered|commissioned|bought] by {v}
        {v} is waiting for {s}""",
        """for whom [do we build|do we make|is] {s} [built|made|done|]
        who [ordered|commissioned|pays for|bought] {s}
        which [client|customer|company] [ordered|commissioned|pays for] {s}
        by whom was {s} [ordered|commissioned|bought]
        who is waiting for {s}""",
        """who [ordered|commissioned|pays for] {s}
        for whom {s} is [built|made|done]
        which [client|customer] {s} is for""",
        """client
        customer""",
        """[what|which project] did {v} [order|commission|buy]
        [what|which project] do we [build|make|do] for {v}
        which project does {v} pay for""",
    ),
    _relation(
        "server", "project", "host",
        """{s} [runs|is hosted|is deployed] on {v}
        the server [for|of] {s} is [called|] {v}
        we [host|run|deployed] {s} on {v}
        {v} [hosts|serves] {s}
        {s} lives on the [machine|server] {v}
        log in to {v} to see {s}""",
        """on [which|what] [machine|server|host] [does {s} run|is {s} hosted|is {s} deployed]
        where [does {s} run|is {s} hosted|is {s} deployed]
        [which|what] [machine|server] [hosts|serves] {s}
        where do we [host|run] {s}
        which server should I log in to for {s}""",
        """on which [machine|server] {s} [runs|is hosted|is deployed]
        where {s} [runs|is hosted]
        which server {s} lives on""",
        """server
        host
        machine""",
        """[what|which project] [runs|is hosted|is deployed] on {v}
        what does {v} [host|serve]
        which project lives on {v}""",
    ),
    _relation(
        "written_in", "project", "tech",
        """{s} is [written|built|programmed|coded] in {v}
        the team [writes|builds|codes] {s} in {v}
        we [chose|use|picked] {v} for {s}
        {s} [uses|is based on] {v}
        {v} is the [language|tool] behind {s}
        {s} was [moved|ported] to {v}""",
        """in [what|which] language is {s} [written|built|programmed|coded]
        what is {s} [written|built|programmed|coded] in
        what [language|tool] [do we use for|is behind] {s}
        what did we [choose|pick] for {s}
        what does {s} use
        to what was {s} [moved|ported]""",
        """what {s} is [written|built|coded] in
        which language {s} [uses|is written in]
        what is behind {s}""",
        """programming language
        technology
        main tool""",
        """[what|which project] is [written|built|coded] in {v}
        which project uses {v}
        for which project did we [choose|pick] {v}""",
    ),
    _relation(
        "where_is", "item", "spot",
        """{s} [is|lies] {v}
        [I|we] [left|put|hid|placed] {s} {v}
        you [can find|will find] {s} {v}
        {s} [is kept|is stored|belongs] {v}
        [we keep|I keep|we store] {s} {v}
        look {v} for {s}
        {s} [turned up|was found] {v}""",
        """where is {s}
        where did [I|we] [leave|put|hide|place] {s}
        where [can I find|will I find] {s}
        where [is {s} kept|is {s} stored|does {s} belong]
        where do [I|we] [keep|store] {s}
        where should I look for {s}
        where did {s} turn up""",
        """where {s} is
        where [I|we] [left|put|hid] {s}
        where to [find|look for] {s}
        where {s} is [kept|stored]""",
        """place
        location
        usual spot""",
        """what [is|lies|is kept|is stored] {v}
        what did [I|we] [leave|put|hide] {v}
        what can I find {v}""",
    ),
    _relation(
        "belongs_to", "item", "name",
        """{s} belongs to {v}
        {v} owns {s}
        the owner of {s} is {v}
        {s} is the property of {v}
        {v} [brought|lent us|bought|left] {s}
        {s} was [brought|lent|bought|left] by {v}
        {v} is the [one|person] {s} belongs to
        give {s} back to {v}""",
        """[to whom|who] does {s} belong [to|]
        who owns {s}
        whose property is {s}
        who is the owner of {s}
        who [brought|lent us|bought] {s}
        to whom should I give {s} back""",
        """who owns {s}
        who {s} belongs to
        who the owner of {s} is""",
        """owner
        rightful owner
        holder""",
        """what belongs to {v}
        what does {v} own
        what did {v} [bring|lend us|buy]""",
    ),
    _relation(
        "access_code", "place", "digits",
        """the [code|door code|access code] [for|of|to] {s} is {v}
        {s} opens with [the code|code] {v}
        [type|enter|use] {v} to [open|unlock|get into] {s}
        the [door|lock] of {s} [wants|takes] {v}
        to [open|unlock|enter] {s}, [type|press|use] {v}
        {v} [opens|unlocks] {s}""",
        """[what|which] code [opens|unlocks] {s}
        how do I [open|unlock|get into] {s}
        with [what|which] code does {s} open
        what do I [type|enter|press] to [open|unlock|get into] {s}
        what does the [door|lock] of {s} take""",
        """how to [open|unlock|get into] {s}
        which code [opens|unlocks] {s}
        what to [type|enter|press] for {s}""",
        """code
        door code
        access code""",
        """[what|which place|which door] does {v} [open|unlock]
        what opens with {v}
        for what is {v} the code""",
    ),
    _relation(
        "opens_at", "place", "time",
        """{s} opens at {v}
        {s} is open from {v} [on|onwards]
        you can [go to|enter|visit] {s} from {v}
        the doors of {s} open at {v}
        {s} is [closed|locked] until {v}
        nobody gets into {s} before {v}""",
        """[when|at what time] does {s} open
        from [when|what time] [on|] is {s} open
        when can I [go to|enter|visit] {s}
        until when is {s} [closed|locked]
        when do the doors of {s} open""",
        """[when|at what time] {s} opens
        from when {s} is open
        until when {s} is [closed|locked]""",
        """opening time
        opening hour""",
        """[what|which place] opens at {v}
        what is open from {v}
        what is [closed|locked] until {v}""",
    ),
    _relation(
        "event_day", "event", "weekday",
        """{s} is on {v}
        {s} [takes place|happens|is held] on {v}
        {s} was [moved|shifted|put off] to {v}
        we [have|hold|planned] {s} on {v}
        {v} is the day of {s}
        on {v}, we have {s}""",
        """[when|on which day|on what day] is {s}
        [when|on which day] does {s} [take place|happen]
        on [which|what] day [is {s} held|do we have {s}]
        to [which|what] day was {s} [moved|shifted|put off]
        what is the day of {s}""",
        """[when|on which day] {s} is
        when {s} [takes place|happens|is held]
        to which day {s} was [moved|shifted]""",
        """day
        date""",
        """[what|which meeting] [is|takes place|happens|is held] on {v}
        what was [moved|shifted|put off] to {v}
        what do we have on {v}""",
    ),
    _relation(
        "event_place", "event", "venue",
        """{s} [takes place|happens|is held] [in|at] {v}
        we [meet|gather|come together] [in|at] {v} for {s}
        {v} is booked for {s}
        we booked {v} for {s}
        {s} was [moved|shifted] to {v}
        come to {v} for {s}
        the venue of {s} is {v}""",
        """where [is {s}|does {s} take place|does {s} happen|is {s} held]
        where do we [meet|gather] for {s}
        [what|which room|which place] is booked for {s}
        [what|which room|which place] did we book for {s}
        to which place was {s} [moved|shifted]
        where should I come for {s}""",
        """where {s} [takes place|happens|is held]
        where we [meet|gather] for {s}
        which place is booked for {s}""",
        """venue
        meeting place
        location""",
        """[what|which meeting] [takes place|happens|is held] [in|at] {v}
        for what [is {v} booked|did we book {v}]
        what was [moved|shifted] to {v}""",
    ),
    _relation(
        "lesson", "condition", "action",
        """when {s}, [please|always|you should|we should|] {v}
        if {s}, [please|always|you should|we should|] {v}
        [please|always|] {v} when {s}
        [please|always|you must|] {v} if {s}
        whenever {s}, [we|you should|] {v}
        [lesson learned|lesson]: when {s}, {v}
        as soon as {s}, {v}
        every time {s}, {v}""",
        """what [should I do|do I do|should we do|must I do] when {s}
        what [should I do|do I do|is to be done] if {s}
        what helps when {s}
        {s}, what [now|should I do|do I do]
        how do I react when {s}""",
        """what to do [when|if] {s}
        how to react when {s}
        what helps when {s}""",
        "",
        """when should I {v}
        in which case do I {v}""",
    ),
    _relation(
        "prefers", "person", "choice",
        """{s} <prefers/prefer> {v}
        {s} would rather have {v}
        {s} [<likes/like>|<wants/want>] {v} [better|more] [than anything else|]
        given the choice, {s} <takes/take> {v}
        {s} always <chooses/choose> {v}
        {s} <goes/go> for {v} if there is a choice
        if you ask {obj}, it has to be {v}""",
        """what <does/do> {s} [prefer|like better|like more]
        what would {s} rather have
        what <does/do> {s} [take|choose], given the choice
        what <does/do> {s} always choose
        what does it have to be if you ask {obj}""",
        """what {s} <prefers/prefer>
        what {s} would rather have
        what {s} always <chooses/choose>""",
        """preference
        usual choice""",
        """who [prefers|always chooses] {v}
        who would rather have {v}
        who takes {v} given the choice""",
    ),
)
