"""A few attributes in six languages, so that an item may be written in one and asked about in another.

Values are people, places, companies, numbers and codes, which are the same in each. A block is an attribute: name's
kind, label and kind of value, then per language sentences | questions; {n} is the name, {v} the value.
"""

from __future__ import annotations

from dataclasses import dataclass

LANGUAGES = ("english", "spanish", "french", "german", "portuguese", "italian")


@dataclass(frozen=True)
class Phrases:
    """Ways to state an attribute and to ask for it in one language."""

    sentences: tuple[str, ...]
    questions: tuple[str, ...]


@dataclass(frozen=True)
class Translated:
    """An attribute in every language."""

    named: str
    """The kind of value that the item's name is."""
    label: str
    kind: str
    phrases: dict[str, Phrases]


def _translated(block: str) -> Translated:
    head, *lines = block.strip().splitlines()
    named, label, kind = (part.strip() for part in head.split("|"))
    phrases = {}
    for line in lines:
        language, said = line.strip().split(":", 1)
        sentences, questions = (tuple(p.strip() for p in half.split(";")) for half in said.split("|"))
        phrases[language] = Phrases(sentences, questions)
    return Translated(named, label, kind, phrases)


_TABLE = """
person | birthplace | place
english: {n} was born in {v}; {n} comes from {v}; {n} grew up in {v}; {n} is a native of {v}; {n} first saw the light in {v} | Where was {n} born?; Where does {n} come from?; In which place did {n} grow up?; Of which town is {n} a native?; What is the town of {n}'s birth?
spanish: {n} nació en {v}; {n} viene de {v}; {n} se crió en {v}; la ciudad natal de {n} es {v} | ¿Dónde nació {n}?; ¿De dónde viene {n}?; ¿En qué lugar se crió {n}?; ¿Cuál es la ciudad natal de {n}?
french: {n} est né à {v}; {n} vient de {v}; {n} a grandi à {v}; la ville natale de {n} est {v} | Où est né {n} ?; D'où vient {n} ?; Dans quelle ville {n} a-t-il grandi ?; Quelle est la ville natale de {n} ?
german: {n} wurde in {v} geboren; {n} kommt aus {v}; {n} wuchs in {v} auf; der Geburtsort von {n} ist {v} | Wo wurde {n} geboren?; Woher kommt {n}?; In welchem Ort wuchs {n} auf?; Was ist der Geburtsort von {n}?
portuguese: {n} nasceu em {v}; {n} vem de {v}; {n} cresceu em {v}; a cidade natal de {n} é {v} | Onde nasceu {n}?; De onde vem {n}?; Em que lugar cresceu {n}?; Qual é a cidade natal de {n}?
italian: {n} è nato a {v}; {n} viene da {v}; {n} è cresciuto a {v}; la città natale di {n} è {v} | Dove è nato {n}?; Da dove viene {n}?; In quale luogo è cresciuto {n}?; Qual è la città natale di {n}?

person | home town | place
english: {n} lives in {v}; {n} has a flat in {v}; {n} moved to {v}; {n} settled down in {v}; {n} makes a home in {v} | Where does {n} live?; Where is {n}'s flat?; Where did {n} move?; Where has {n} settled down?
spanish: {n} vive en {v}; {n} tiene un piso en {v}; {n} se mudó a {v}; {n} reside en {v} | ¿Dónde vive {n}?; ¿Dónde tiene {n} un piso?; ¿Adónde se mudó {n}?; ¿En qué ciudad reside {n}?
french: {n} habite à {v}; {n} a un appartement à {v}; {n} a déménagé à {v}; {n} réside à {v} | Où habite {n} ?; Où {n} a-t-il un appartement ?; Où {n} a-t-il déménagé ?; Dans quelle ville réside {n} ?
german: {n} wohnt in {v}; {n} hat eine Wohnung in {v}; {n} ist nach {v} gezogen; {n} hat sich in {v} niedergelassen | Wo wohnt {n}?; Wo hat {n} eine Wohnung?; Wohin ist {n} gezogen?; Wo hat sich {n} niedergelassen?
portuguese: {n} mora em {v}; {n} tem um apartamento em {v}; {n} mudou-se para {v}; {n} reside em {v} | Onde mora {n}?; Onde {n} tem um apartamento?; Para onde {n} se mudou?; Em que cidade reside {n}?
italian: {n} abita a {v}; {n} ha un appartamento a {v}; {n} si è trasferito a {v}; {n} risiede a {v} | Dove abita {n}?; Dove ha un appartamento {n}?; Dove si è trasferito {n}?; In quale città risiede {n}?

person | employer | company
english: {n} works for {v}; {n} is employed at {v}; {n} has a contract with {v}; {n} joined {v}; {n} is on the payroll of {v} | Who does {n} work for?; Where is {n} employed?; With which company does {n} have a contract?; Which company did {n} join?
spanish: {n} trabaja para {v}; {n} está empleado en {v}; {n} tiene un contrato con {v}; {n} entró en {v} | ¿Para quién trabaja {n}?; ¿Dónde está empleado {n}?; ¿Con qué empresa tiene {n} un contrato?; ¿En qué empresa entró {n}?
french: {n} travaille pour {v}; {n} est employé chez {v}; {n} a un contrat avec {v}; {n} a rejoint {v} | Pour qui travaille {n} ?; Chez qui {n} est-il employé ?; Avec quelle entreprise {n} a-t-il un contrat ?; Quelle entreprise {n} a-t-il rejointe ?
german: {n} arbeitet für {v}; {n} ist bei {v} angestellt; {n} hat einen Vertrag mit {v}; {n} ist bei {v} eingetreten | Für wen arbeitet {n}?; Bei wem ist {n} angestellt?; Mit welcher Firma hat {n} einen Vertrag?; In welche Firma ist {n} eingetreten?
portuguese: {n} trabalha para {v}; {n} é empregado da {v}; {n} tem um contrato com {v}; {n} entrou na {v} | Para quem trabalha {n}?; De quem {n} é empregado?; Com que empresa {n} tem um contrato?; Em que empresa {n} entrou?
italian: {n} lavora per {v}; {n} è impiegato presso {v}; {n} ha un contratto con {v}; {n} è entrato in {v} | Per chi lavora {n}?; Presso chi è impiegato {n}?; Con quale azienda {n} ha un contratto?; In quale azienda è entrato {n}?

person | year of birth | year
english: {n} was born in {v}; {n} came into the world in {v}; {n} has {v} as year of birth; {n} dates from {v}; {n} entered the world in {v} | When was {n} born?; In which year was {n} born?; What is {n}'s birth year?; Which year did {n} come into the world?; From what year is {n}?
spanish: {n} nació en {v}; {n} vino al mundo en {v}; el año de nacimiento de {n} es {v}; {n} es de {v} | ¿Cuándo nació {n}?; ¿En qué año nació {n}?; ¿Cuál es el año de nacimiento de {n}?; ¿De qué año es {n}?
french: {n} est né en {v}; {n} est venu au monde en {v}; l'année de naissance de {n} est {v}; {n} est de {v} | Quand est né {n} ?; En quelle année est né {n} ?; Quelle est l'année de naissance de {n} ?; De quelle année est {n} ?
german: {n} wurde {v} geboren; {n} kam {v} zur Welt; das Geburtsjahr von {n} ist {v}; {n} ist Jahrgang {v} | Wann wurde {n} geboren?; In welchem Jahr wurde {n} geboren?; Was ist das Geburtsjahr von {n}?; Welcher Jahrgang ist {n}?
portuguese: {n} nasceu em {v}; {n} veio ao mundo em {v}; o ano de nascimento de {n} é {v}; {n} é de {v} | Quando nasceu {n}?; Em que ano nasceu {n}?; Qual é o ano de nascimento de {n}?; De que ano é {n}?
italian: {n} è nato nel {v}; {n} è venuto al mondo nel {v}; l'anno di nascita di {n} è il {v}; {n} è del {v} | Quando è nato {n}?; In che anno è nato {n}?; Qual è l'anno di nascita di {n}?; Di che anno è {n}?

person | room | code
english: {n} sits in room {v}; {n} has the office {v}; {n} is found in room {v}; {n} works behind door {v} | In which room does {n} sit?; Which office does {n} have?; In what room is {n} found?; Behind which door does {n} work?
spanish: {n} está en la sala {v}; {n} tiene el despacho {v}; a {n} se le encuentra en la sala {v}; {n} trabaja tras la puerta {v} | ¿En qué sala está {n}?; ¿Qué despacho tiene {n}?; ¿En qué sala se encuentra a {n}?; ¿Tras qué puerta trabaja {n}?
french: {n} est dans la salle {v}; {n} a le bureau {v}; on trouve {n} dans la salle {v}; {n} travaille derrière la porte {v} | Dans quelle salle est {n} ?; Quel bureau a {n} ?; Dans quelle salle trouve-t-on {n} ?; Derrière quelle porte travaille {n} ?
german: {n} sitzt in Raum {v}; {n} hat das Büro {v}; man findet {n} in Raum {v}; {n} arbeitet hinter Tür {v} | In welchem Raum sitzt {n}?; Welches Büro hat {n}?; In welchem Raum findet man {n}?; Hinter welcher Tür arbeitet {n}?
portuguese: {n} está na sala {v}; {n} tem o escritório {v}; encontra-se {n} na sala {v}; {n} trabalha atrás da porta {v} | Em que sala está {n}?; Que escritório tem {n}?; Em que sala se encontra {n}?; Atrás de que porta trabalha {n}?
italian: {n} è nella stanza {v}; {n} ha l'ufficio {v}; si trova {n} nella stanza {v}; {n} lavora dietro la porta {v} | In quale stanza è {n}?; Quale ufficio ha {n}?; In quale stanza si trova {n}?; Dietro quale porta lavora {n}?

company | founder | person
english: {n} was founded by {v}; {v} started {n}; {n} was set up by {v}; {v} brought {n} to life; {n} goes back to an idea of {v} | Who founded {n}?; Who started {n}?; By whom was {n} set up?; Who brought {n} to life?; To whose idea does {n} go back?
spanish: {n} fue fundada por {v}; {v} creó {n}; la fundación de {n} se debe a {v}; {v} dio vida a {n} | ¿Quién fundó {n}?; ¿Quién creó {n}?; ¿A quién se debe la fundación de {n}?; ¿Quién dio vida a {n}?
french: {n} a été fondée par {v}; {v} a créé {n}; la fondation de {n} est due à {v}; {v} a donné vie à {n} | Qui a fondé {n} ?; Qui a créé {n} ?; À qui est due la fondation de {n} ?; Qui a donné vie à {n} ?
german: {n} wurde von {v} gegründet; {v} hat {n} aufgebaut; die Gründung von {n} geht auf {v} zurück; {v} rief {n} ins Leben | Wer hat {n} gegründet?; Wer hat {n} aufgebaut?; Auf wen geht die Gründung von {n} zurück?; Wer rief {n} ins Leben?
portuguese: {n} foi fundada por {v}; {v} criou {n}; a fundação de {n} deve-se a {v}; {v} deu vida a {n} | Quem fundou {n}?; Quem criou {n}?; A quem se deve a fundação de {n}?; Quem deu vida a {n}?
italian: {n} è stata fondata da {v}; {v} ha creato {n}; la fondazione di {n} si deve a {v}; {v} ha dato vita a {n} | Chi ha fondato {n}?; Chi ha creato {n}?; A chi si deve la fondazione di {n}?; Chi ha dato vita a {n}?

company | headquarters | place
english: {n} is based in {v}; {n} has its head office in {v}; {n} is run from {v}; {n} has its seat in {v}; {n} resides in {v} | Where is {n} based?; Where is the head office of {n}?; From which town is {n} run?; Where does {n} have its seat?; In which town does {n} reside?
spanish: {n} tiene su sede en {v}; la oficina central de {n} está en {v}; {n} se dirige desde {v}; {n} está domiciliada en {v} | ¿Dónde tiene su sede {n}?; ¿Dónde está la oficina central de {n}?; ¿Desde qué ciudad se dirige {n}?; ¿Dónde está domiciliada {n}?
french: {n} a son siège à {v}; le bureau principal de {n} est à {v}; {n} est dirigée depuis {v}; {n} est domiciliée à {v} | Où {n} a-t-elle son siège ?; Où est le bureau principal de {n} ?; Depuis quelle ville {n} est-elle dirigée ?; Où {n} est-elle domiciliée ?
german: {n} hat den Sitz in {v}; die Zentrale von {n} ist in {v}; {n} wird von {v} aus geleitet; {n} ist in {v} ansässig | Wo hat {n} den Sitz?; Wo ist die Zentrale von {n}?; Von welcher Stadt aus wird {n} geleitet?; Wo ist {n} ansässig?
portuguese: {n} tem sede em {v}; o escritório central da {n} fica em {v}; {n} é dirigida a partir de {v}; {n} está domiciliada em {v} | Onde {n} tem sede?; Onde fica o escritório central da {n}?; A partir de que cidade {n} é dirigida?; Onde está domiciliada {n}?
italian: {n} ha sede a {v}; l'ufficio centrale di {n} è a {v}; {n} è diretta da {v}; {n} è domiciliata a {v} | Dove ha sede {n}?; Dove è l'ufficio centrale di {n}?; Da quale città è diretta {n}?; Dove è domiciliata {n}?

company | year of foundation | year
english: {n} was set up in {v}; {n} opened in {v}; {n} has existed since {v}; {n} started work in {v}; {n} dates back to {v} | When was {n} set up?; In which year did {n} open?; Since when has {n} existed?; When did {n} start work?; To what year does {n} date back?
spanish: {n} se creó en {v}; {n} abrió en {v}; {n} existe desde {v}; {n} se remonta a {v} | ¿Cuándo se creó {n}?; ¿En qué año abrió {n}?; ¿Desde cuándo existe {n}?; ¿A qué año se remonta {n}?
french: {n} a été créée en {v}; {n} a ouvert en {v}; {n} existe depuis {v}; {n} remonte à {v} | Quand {n} a-t-elle été créée ?; En quelle année {n} a-t-elle ouvert ?; Depuis quand {n} existe-t-elle ?; À quelle année remonte {n} ?
german: {n} entstand {v}; {n} öffnete {v}; {n} besteht seit {v}; {n} geht auf das Jahr {v} zurück | Wann entstand {n}?; In welchem Jahr öffnete {n}?; Seit wann besteht {n}?; Auf welches Jahr geht {n} zurück?
portuguese: {n} surgiu em {v}; {n} abriu em {v}; {n} existe desde {v}; {n} remonta a {v} | Quando surgiu {n}?; Em que ano abriu {n}?; Desde quando existe {n}?; A que ano remonta {n}?
italian: {n} è nata nel {v}; {n} ha aperto nel {v}; {n} esiste dal {v}; {n} risale al {v} | Quando è nata {n}?; In che anno ha aperto {n}?; Da quando esiste {n}?; A che anno risale {n}?
"""

TRANSLATED = tuple(_translated(block) for block in _TABLE.strip().split("\n\n"))
