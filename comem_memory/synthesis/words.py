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
    "genre": "mystery,romance,satire,fantasy,biography,horror,comedy,adventure,science fiction,drama",
    "industry": "software,shipping,banking,farming,mining,fashion,medicine,tourism,robotics,publishing,energy,toys",
    "status": "approved,rejected,postponed,in progress,finished,cancelled,on hold,under review,urgent,open",
    "season": "spring summer autumn winter",
    "feature": "waterproof,foldable,wireless,solar-powered,silent,fireproof,adjustable,biodegradable,portable",
    "texture": "soft,crunchy,creamy,sticky,crisp,chewy,smooth,flaky",
    "region": "Scandinavia,Siberia,Patagonia,Bavaria,Tuscany,Catalonia,Yorkshire,Cornwall,Texas,Alaska,Ontario,Quebec,"
    "California,Bengal,Punjab,Kashmir,Tibet,Manchuria,Anatolia,Crimea,Sicily,Normandy,Brittany,Scotland,Wales,Iberia,"
    "Lapland,Flanders,Saxony,Andalusia,Queensland,Tasmania,Hokkaido,Sumatra,Borneo,Sinai,Mesopotamia,Louisiana,Florida,"
    "the Balkans,the Alps,the Andes,the Arctic,the Levant,the Midwest,the Baltic,the Himalayas,the Highlands,"
    "the Pacific,the Atlantic,the Mediterranean,the Steppe,the Tropics,the Desert,the Great Plains",
    "spice": "cinnamon,saffron,cumin,nutmeg,paprika,thyme,rosemary,cardamom,cloves,ginger,basil,mint,dill,oregano,sage,"
    "turmeric,anise,fennel",
    "habitat": "dense forests,dry grassland,mangrove swamps,mountain streams,sandy deserts,coral reefs,limestone caves,"
    "old barns,city parks,reed beds,peat bogs,rocky shores,river deltas,bamboo groves,snowfields,hollow trees",
    "seat": "window seat,aisle seat,front seat,corner seat,back seat,garden table,balcony seat,quiet cabin,upper berth,"
    "booth,terrace table,bar stool,box seat,middle seat",
    "style": "bullet points,short sentences,long explanations,tables,numbered steps,examples,rhymes,questions,diagrams,"
    "plain summaries,code only,footnotes,jokes,quotations,checklists",
    "program": "Vim,Emacs,Excel,Notepad,Word,Photoshop,Blender,Sublime,Xcode,Eclipse,Nano,Jupyter,Figma,Keynote,Gimp,"
    "Audacity,Inkscape,Scribus",
    "tongue": "Finnish,Swahili,Korean,Dutch,Greek,Turkish,Hindi,Latin,Basque,Polish,Czech,Hebrew,Thai,Irish,Malay,"
    "Icelandic,Zulu",
    "diet": "vegetarian,vegan,gluten-free,low-salt,kosher,halal,sugar-free,raw,lactose-free,low-fat,high-protein,"
    "nut-free,pureed,Nordic",
    "transport": "night train,ferry,rental car,bicycle,coach,helicopter,tram,motorbike,sailing boat,taxi,horse cart,"
    "cable car,camper van,express train",
    "gift": "silver watch,cookery book,board game,wool scarf,telescope,fountain pen,chess set,teapot,leather bag,kite,"
    "music box,hammock,photo album,rose bush,puzzle,perfume",
    "decision": "hire two testers,drop the old interface,move to weekly releases,close the branch office,raise prices,"
    "translate the manual,change the supplier,rewrite the parser,cancel the campaign,open a second shop,buy laptops,"
    "postpone the launch,merge both teams,publish the report,rent a larger hall,stop the survey,paint the lobby,"
    "train the new staff",
    "action": "restarting the router,clearing the cache,raising the memory limit,reinstalling the driver,small batches,"
    "a longer timeout,rolling back the update,another network cable,renewing the certificate,deleting the lock file,"
    "switching to another region,rebuilding the index,turning off the proxy,a new virtual machine,pinning the library,"
    "sorting the input first,a second attempt at night,splitting the file,changing the password,an older compiler",
    "error": "a timeout,a segmentation fault,an empty result,a permission error,a checksum mismatch,a broken pipe,"
    "a syntax error,a full disk,a deadlock,a missing module,a bad gateway,a stack overflow,a refused connection,"
    "an expired token,a corrupt header",
    "spot": "the top drawer,the garage,the cellar,the shed,the attic,the glove box,the pantry,the hall closet,"
    "the laundry basket,the boiler room,the lower cabinet,the mailroom,the server rack,the coat pocket,"
    "the wooden crate,the linen chest,the wine rack,the bread box,the greenhouse,the bike shed,the storage unit,"
    "the supply room,the metal cupboard,the sports bag,the corner shelf,the filing cabinet,the wicker basket,"
    "the porch,the sink unit,the camping trunk",
    "object": "suitcase,spare key,ladder,umbrella,drill,sleeping bag,toolbox,projector,charger,thermos,lantern,"
    "megaphone,extension cord,sewing machine,rain jacket,headset,tripod,stapler,trolley,garden hose,blender,torch,"
    "air pump,cool box,scanner,microphone,label maker,folding table,whiteboard,vacuum cleaner,measuring tape,helmet,"
    "notebook,paint roller,step stool,bread knife",
    "occasion": "breakfast,long trips,meetings,the office,rainy days,lunch breaks,family visits,night shifts,"
    "birthdays,hikes,exams,train rides,weekends,late evenings,picnics,interviews,movie nights,rehearsals,holidays,"
    "deadlines,reading,house guests,workouts,concerts",
    "reason": "it is cheaper,the old one leaked,nobody had time,the supplier closed,the tests failed,"
    "too few signed up,the licence expired,the roof was wet,half the team fell ill,the budget was cut,"
    "the part came late,customers asked for it,the contract ended,the room was too small,it made less noise,"
    "the data was wrong,a storm was coming,the law changed,it saves energy,the lift broke down,the keys were lost,"
    "they answered fastest,the print was blurred,it was sold out",
    "errand": "water the plants,renew the lease,book the hall,return the books,feed the parrot,order new chairs,"
    "call the plumber,print the flyers,clean the filter,update the slides,pay the electricity bill,sign the form,"
    "pick up the cake,check the smoke alarm,charge the batteries,send the minutes,collect the keys,"
    "back up the photos,fix the fence,wash the curtains,test the heating,cancel the subscription,label the boxes,"
    "air the bedroom",
    "shape": "circle,star,crescent,triangle,cross,diamond,square,wheel,sun,tree",
}


@cache
def listed(kind: str) -> list[str]:
    """The real words of a kind; a `KeyError` where a kind has none."""
    line = _LISTS[kind]
    return [word.strip() for word in (line.split(",") if "," in line else line.split())]


@cache
def all_listed() -> frozenset[str]:
    """The words of all kinds, in lower case."""
    return frozenset(word.casefold() for kind in _LISTS for word in listed(kind))
