"""The texts the int8 form is calibrated on: written for this purpose, taken from no data set.

What agents remember: turns of conversation, facts and preferences, tool results, errors, decisions, notes; questions;
some text in other languages, code, numbers and marks. The calibration wants every channel of every layer to be driven
about as far as real text drives it, so breadth counts, not number.
"""

from __future__ import annotations

import random

SEED = 20240611

_SENTENCES = """
I usually take the tram to work, but on Fridays I ride my bike along the river.
Her sister moved to Toronto last autumn and opened a small bakery near the harbour.
The build broke again because somebody pinned the wrong version of the compiler.
Please remember that my landlord prefers to be called after six in the evening.
We had pasta with mushrooms, a green salad and far too much tiramisu.
The quarterly numbers look fine, although shipping costs rose by nearly nine percent.
He finally finished the marathon in four hours and twelve minutes, limping but happy.
Could you book me a window seat on the earliest train to Hamburg?
My grandmother taught me how to knit when I was seven years old.
The patient reported mild dizziness after the second dose of the antibiotic.
Retry the upload with exponential backoff and give up after five attempts.
The museum is closed on Mondays, so we went to the botanical garden instead.
I think the second candidate was stronger on distributed systems but weaker on communication.
There is a hairline crack in the left pane of the kitchen window.
The invoice number 20871 was paid twice; accounting will refund the difference.
Wow, that is amazing news, congratulations to both of you!
Honestly, I am a bit worried about the exam next week.
Thanks, I will check with the team and get back to you tomorrow.
No, that is not what I meant at all.
Sounds good, see you there!
The dog barked all night, and none of us slept very well.
Our flight was delayed by three hours because of thick fog over the airport.
She plays the cello in a quartet that rehearses every second Thursday.
The function returns an empty list when the directory does not exist.
Set the timeout to thirty seconds and log every request that takes longer than one.
The customer asked for a refund since the blender stopped working after two days.
Photosynthesis converts light, water and carbon dioxide into sugar and oxygen.
The treaty was signed in 1648 and ended thirty years of war.
Two hikers were rescued from the ridge after a sudden snowstorm.
The committee voted seven to two in favour of the new cycling lanes.
A flock of geese crossed the grey sky above the frozen lake.
The recipe calls for two cups of flour, a pinch of salt and one ripe banana.
His blood pressure was 142 over 91, so the doctor adjusted the medication.
The old lighthouse keeper waved at every ship that passed.
We agreed to migrate the user table first and the orders table in a second step.
The staging cluster ran out of memory because the cache had no upper bound.
I never drink coffee after lunch, otherwise I lie awake until two.
My favourite colour is dark green, and my lucky number is thirteen.
The deadline for the grant application is the fifteenth of March at noon.
They adopted a three-legged cat from the shelter and named her Captain.
The conductor stopped the orchestra and asked the violins to play more softly.
Her doctoral thesis deals with the migration of salmon in warming rivers.
The API returns error 429 when more than sixty requests arrive within a minute.
Use tabs for indentation in this repository, never spaces.
The agent decided to split the task into three smaller steps and run the tests after each.
Deleting the lock file fixed the installation on the second machine.
The stock fell by eleven percent after the chief executive resigned.
He is allergic to shellfish, and his wife does not eat pork.
The children built a castle out of cardboard boxes and old blankets.
Nobody knew why the church bell rang at midnight.
Interest rates were left unchanged for the third month in a row.
The printer on the second floor is jammed again.
I would rather meet in person than have another video call.
The password must be at least twelve characters long and contain a digit.
The striker scored twice in the last ten minutes to win the match.
If the checksum does not match, download the archive again from the mirror.
She quit her job at the bank to study marine biology.
The soup was cold, the waiter was rude and the bill was wrong.
Volcanic ash fertilises the soil on the southern slope of the island.
The senator denied that he had ever met the lobbyist.
We planted tomatoes, basil and two rows of beans behind the shed.
The car needs new brake pads and the left headlight flickers.
My therapist suggested that I write down three good things every night.
The novel tells the story of four generations of a family of clockmakers.
Turn left at the pharmacy, walk past the school, and it is the blue door on the right.
The experiment failed because the sample had been contaminated.
A heavy truck blocked the tunnel for most of the afternoon.
He plays chess online until late at night and then oversleeps.
The vaccine must be stored between two and eight degrees.
Our son lost his first tooth yesterday and is very proud of it.
The contract can be terminated with three months' notice at the end of a quarter.
There were roughly 40,000 people in the stadium.
The battery lasts about nine hours if the screen is dimmed.
The painter mixed his own pigments from minerals and egg yolk.
Her flight lands at 18:45 in terminal two; please pick her up.
The garden gate squeaks, and the fence needs a coat of paint.
Inflation eats away the savings of people who keep cash at home.
The detective noticed that the clock had stopped at twenty past four.
You should back up the database before you run the migration script.
I am learning Portuguese because my partner's family lives in Braga.
The bridge was closed to traffic after engineers found rust in the cables.
Most of the forest burned down in the dry summer of 2003.
The committee's report is 312 pages long and has no index.
Yesterday's deploy doubled the latency of the search endpoint.
The kids want to go camping, but the forecast says rain all weekend.
The court ruled that the search had been unlawful.
She has been volunteering at the food bank since the pandemic.
They watched the meteor shower from the roof of the barn.
Keep the receipts in the yellow folder until the tax return is done.
The model was trained for twelve epochs with a learning rate of 0.0003.
The wine tasted of cherries, smoke and a little too much oak.
My new apartment has high ceilings, creaky floors and no elevator.
The company will open two new warehouses near the port next year.
A single misplaced comma changed the meaning of the whole clause.
The mayor promised more trees, cleaner parks and cheaper buses.
He forgot his umbrella on the bus and came home soaked.
The band broke up after their third album, and the singer went solo.
The tests pass on my laptop but fail in the pipeline.
It took the plumber ten minutes to find the leak and two hours to fix it.
Grandpa still repairs radios in his workshop at the age of eighty-four.
What is the best way to remove red wine stains from a wool carpet?
When did we decide to drop support for the old mobile client?
Who recommended the Thai restaurant near the opera?
Where did I leave the spare key for the garage?
How many vacation days do I have left this year?
Why did the nightly export fail on the first of the month?
Which of the two vendors offered the longer warranty?
What did my brother say about selling the house?
How long does it take to charge the car from twenty to eighty percent?
Does the premium plan include support on weekends?
What was the name of the hotel we stayed at in Kyoto?
Can I freeze the leftover lentil curry?
Tool search_flights returned 14 results; the cheapest is 187.40 EUR with one stop in Zurich.
Traceback: KeyError 'customer_id' raised in billing/export.py line 88.
HTTP 503 Service Unavailable, retry-after: 120
SELECT name, total FROM orders WHERE status = 'open' ORDER BY total DESC LIMIT 10;
def mean(values): return sum(values) / len(values) if values else 0.0
for (int i = 0; i < n; ++i) { total += weights[i] * inputs[i]; }
npm run build && rsync -az dist/ deploy@host:/var/www/app
https://docs.example.org/guides/getting-started?lang=en&version=3#install
Disk usage on /dev/sda1 reached 93 percent at 02:14:07 UTC.
{"user": "maria", "plan": "pro", "seats": 12, "active": true}
TODO: replace the polling loop with a webhook, see ticket 4417.
Commit 9f3c2a1 reverts the change to the session middleware.
The regex ^[a-z0-9_-]{3,16}$ rejects names with dots.
git rebase --continue
Subject: Re: Re: Fwd: parking permit renewal
lol no way
ok
yes please
Hmm, not sure...
brb
Good morning!
Heute Abend kochen wir Kartoffelsuppe mit Würstchen.
El tren a Sevilla sale a las nueve y media de la mañana.
Nous avons visité le musée avant de dîner au bord de la Seine.
La riunione è stata spostata a giovedì pomeriggio.
De winkel op de hoek verkoopt de beste kaas van de stad.
Spotkanie odbędzie się w środę o godzinie dziesiątej.
Toplantı yarın sabah saat dokuzda başlayacak.
Завтра утром мы едем на дачу собирать яблоки.
明日は友達と映画を見に行きます。
他昨天买了一台新电脑。
오늘 저녁에 친구를 만나기로 했어요.
اجتمع الفريق صباح اليوم لمناقشة الميزانية
כל החלונות במשרד נשארו פתוחים בלילה
Η συνάντηση αναβλήθηκε για την επόμενη εβδομάδα.
मुझे सुबह की चाय बहुत पसंद है।
🎂 party at 8pm, bring snacks 🎈🎈
Temperature: 21.5 °C, humidity 48 %, pressure 1013 hPa
3 1/2 cups; 250 g; 2 tbsp; 1 tsp
555-0142
2019-11-03T08:30:00Z
42
!!!
?
A, B, and C; however -- "D" (see E) is [not] {F}.
"""

_PEOPLE = ("Nadia", "my boss", "the new intern", "Tom and Priya", "our neighbour", "Dr. Osei", "the client", "Yuki")
_DOINGS = (
    "wants to move the meeting to {time}",
    "said that the {thing} is too expensive",
    "bought a used {thing} and paid {amount} for it",
    "has been ill since {time}",
    "is looking for a {thing} that works offline",
    "asked whether the {thing} will be ready by {time}",
    "broke the {thing} while cleaning",
    "prefers the old {thing} over the new one",
    "finished the report about the {thing} {time}",
    "will travel to {place} {time}",
    "grew up in {place} and speaks three languages",
    "lost {amount} on the {thing}",
    "is planning a surprise party in {place}",
    "complained about the noise from the {thing}",
    "learned to repair a {thing} in {place}",
)
_TIMES = ("next Tuesday", "last winter", "tomorrow at 9:30", "the end of June", "this afternoon", "two weeks ago")
_THINGS = (
    "coffee machine", "billing service", "guitar", "search index", "sofa", "telescope", "database cluster", "electric car",
    "violin", "payment gateway", "washing machine", "test suite", "vegetable garden", "mobile app",
)  # fmt: skip
_PLACES = ("Lisbon", "a village in the Alps", "Nairobi", "the old factory", "Osaka", "northern Chile", "Room 4.12")
_AMOUNTS = ("$1,250", "80 euros", "a fortune", "0.3 bitcoin", "£49.99")
_TEMPLATED = 150
_LONG = 60
_SHORT = 50
_QUESTIONS = 50


def sentences() -> list[str]:
    """About 470 texts: those above, some made from templates, and some of both cut short, joined or lower-cased."""
    chance = random.Random(SEED)
    written = [line for line in _SENTENCES.splitlines() if line]
    whole = written + [_from_template(chance) for _ in range(_TEMPLATED)]
    shapes = [" ".join(chance.sample(whole, chance.randint(3, 9))) for _ in range(_LONG)]
    shapes += [" ".join(chance.choice(whole).split()[: chance.randint(2, 6)]) for _ in range(_SHORT)]
    shapes += [chance.choice(whole).lower().rstrip(".!?") + "?" for _ in range(_QUESTIONS)]
    return whole + shapes


def _from_template(chance: random.Random) -> str:
    doing = chance.choice(_DOINGS).format(
        time=chance.choice(_TIMES),
        thing=chance.choice(_THINGS),
        place=chance.choice(_PLACES),
        amount=chance.choice(_AMOUNTS),
    )
    who = chance.choice(_PEOPLE)
    return f"{who[0].upper()}{who[1:]} {doing}."
