"""The words that values and made-up names are made of."""

from __future__ import annotations

from functools import cache

ONSETS = [
    "b",
    "br",
    "c",
    "ch",
    "cl",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "kl",
    "kr",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "q",
    "r",
    "s",
    "sh",
    "sk",
    "st",
    "t",
    "th",
    "tr",
    "v",
    "w",
    "y",
    "z",
]
VOWELS = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "ai", "ea", "io", "ou"]
CODAS = ["", "", "", "n", "r", "l", "s", "th", "nd", "m", "k", "rt", "x"]
ENDINGS = ["", "", "a", "ia", "o", "en", "ar", "ville", "burg", "ton", "land", "is", "mar", "eth", "ona"]

_LISTS = {
    "colour": "red blue green yellow black white purple orange silver golden brown pink grey turquoise crimson ivory",
    "animal": "eagle lion wolf otter falcon bear turtle deer swan fox owl dolphin horse lynx crane tiger heron badger",
    "food": "rice bread lentils noodles cheese salmon potatoes dates olives honey mushrooms soup dumplings beans figs "
    "mangoes porridge pancakes pumpkin couscous",
    "drink": "green tea,black coffee,mint tea,apple juice,ginger beer,hot chocolate,buttermilk,lemonade,oat milk,cider",
    "material": "wood steel glass copper leather bamboo marble wool granite paper clay cotton aluminium brass silk",
    "job": "chef nurse pilot teacher baker lawyer farmer painter engineer dentist plumber librarian architect tailor "
    "gardener journalist surgeon carpenter translator geologist",
    "hobby": "chess,sailing,pottery,running,photography,gardening,knitting,climbing,birdwatching,cycling,fencing,"
    "origami,skating,astronomy,baking,fishing,calligraphy,juggling",
    "allergy": "peanuts shellfish pollen eggs milk wheat soy strawberries penicillin latex sesame cats",
    "instrument": "piano violin flute drums guitar harp trumpet cello accordion clarinet banjo oboe",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "month": "January February March April May June July August September October November December",
    "climate": "tropical,arid,temperate,cold,humid,mild,alpine,windy,Mediterranean,rainy",
    "export": "timber,coffee,copper,salt,wool,sugar,tin,rubber,spices,cotton,cocoa,diamonds,tea,fish,iron ore,vanilla",
    "direction": "north south east west north-east south-west north-west south-east centre",
    "genre": "mystery,romance,satire,fantasy,biography,horror,comedy,adventure,science fiction,drama",
    "industry": "software,shipping,banking,farming,mining,fashion,medicine,tourism,robotics,publishing,energy,toys",
    "status": "approved,rejected,postponed,in progress,finished,cancelled,on hold,under review,urgent,open",
    "season": "spring summer autumn winter",
    "coin": "crown,thaler,mark,ducat,shilling,florin,guilder,penny,talent,groat,obol,scudo,denar,tael,piastre",
    "feature": "waterproof,foldable,wireless,solar-powered,silent,fireproof,adjustable,biodegradable,portable",
    "government": "republic,kingdom,federation,duchy,union,principality,sultanate,confederation",
    "texture": "soft,crunchy,creamy,sticky,crisp,chewy,smooth,flaky",
    "region": "Scandinavia,Siberia,Patagonia,Bavaria,Tuscany,Catalonia,Yorkshire,Cornwall,Texas,Alaska,Ontario,Quebec,"
    "California,Bengal,Punjab,Kashmir,Tibet,Manchuria,Anatolia,Crimea,Sicily,Normandy,Brittany,Scotland,Wales,Iberia,"
    "Lapland,Flanders,Saxony,Andalusia,Queensland,Tasmania,Hokkaido,Sumatra,Borneo,Sinai,Mesopotamia,Louisiana,Florida,"
    "the Balkans,the Alps,the Andes,the Arctic,the Levant,the Midwest,the Baltic,the Himalayas,the Highlands,"
    "the Pacific,the Atlantic,the Mediterranean,the Steppe,the Tropics,the Desert,the Great Plains",
    "shape": "circle,star,crescent,triangle,cross,diamond,square,wheel,sun,tree",
}


@cache
def listed(kind: str) -> list[str]:
    """The real words of a kind; a `KeyError` where a kind has none."""
    line = _LISTS[kind]
    return [word.strip() for word in (line.split(",") if "," in line else line.split())]
