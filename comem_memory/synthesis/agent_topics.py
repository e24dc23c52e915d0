"""What agents have to remember: what users like, avoid and plan, what was decided, and what was tried.

Tables as in `topics.py`.
"""

from __future__ import annotations

from comem_memory.synthesis.topics import topic

AGENT_TOPICS = (
    topic(
        "preferences",
        "user,customer,client",
        "person",
        "she her,he his",
        """
        favourite drink | drink | {n} always orders {v}; {n} would rather drink {v}; {n} likes {v} best; {n} asked for {v} again; {n} never says no to {v} | What does {n} like to drink?; What should I order for {n} to drink?; Which drink does {n} prefer?; What did {n} ask for again?; To which drink does {n} never say no?
        seat | seat | {n} wants a {v}; {n} always books a {v}; {n} prefers a {v}; {n} feels best in a {v}; {n} insists on a {v} | Where does {n} want to sit?; What seat does {n} always book?; Which seat does {n} prefer?; In what seat does {n} feel best?; On what seat does {n} insist?
        style of answers | style | {n} wants answers as {v}; {n} likes to read {v}; {n} asked me to write {v}; {n} is happiest with {v}; {n} expects replies in the form of {v} | How does {n} want answers?; What does {n} like to read?; What did {n} ask me to write?; With what kind of answer is {n} happiest?; In what form does {n} expect replies?
        editor | program | {n} works in {v}; {n} writes everything with {v}; {n} has {v} installed; {n} swears by {v}; {n} will not part from {v} | In which program does {n} work?; With what does {n} write everything?; What has {n} installed?; By which program does {n} swear?; From which program will {n} not part?
        budget | price | {n} wants to spend {v} at most; {n} has set a limit of {v}; {n} can pay {v}; {n} does not go beyond {v}; {n} put aside {v} for it | How much does {n} want to spend at most?; What limit has {n} set?; How much can {n} pay?; Beyond what sum does {n} not go?; How much did {n} put aside for it?
        language | tongue | {n} speaks {v} with me; {n} wants letters in {v}; {n} writes to me in {v}; {n} is most at ease in {v}; {n} should be addressed in {v} | Which language does {n} speak with me?; In what language does {n} want letters?; In which language does {n} write to me?; In what language is {n} most at ease?; In which language should {n} be addressed?
        """,
    ),
    topic(
        "family",
        "user,customer,client",
        "person",
        "she her,he his",
        """
        sister | first | {n} has a sister called {v}; {n} grew up with a sister, {v}; {n} often mentions the sister {v}; {n} looks up to an elder sister named {v}; {n} is the brother or sister of {v} | What is the name of {n}'s sister?; With which sister did {n} grow up?; Which sister does {n} often mention?; What is the elder sister called to whom {n} looks up?; Whose brother or sister is {n}?
        partner | person | {n} is married to {v}; {n} lives with {v}; {n} is engaged to {v}; {n} shares life with {v}; {n} has {v} as partner | Who is {n} married to?; With whom does {n} live?; To whom is {n} engaged?; With whom does {n} share life?; Who is the partner of {n}?
        daughter | first | {n} has a daughter called {v}; {n} takes the daughter {v} to school; {n} is the parent of a girl named {v}; {n} named the girl {v}; {n} brings up a daughter, {v} | What is the name of {n}'s daughter?; Which daughter does {n} take to school?; What is the girl called whose parent {n} is?; What did {n} name the girl?; Which daughter does {n} bring up?
        son | first | {n} has a son called {v}; {n} plays football with the son {v}; {n} is the parent of a boy named {v}; {n} named the boy {v}; {n} raises a son, {v} | What is the name of {n}'s son?; With which son does {n} play football?; What is the boy called whose parent {n} is?; What did {n} name the boy?; Which son does {n} raise?
        birthday | date | {n} has a birthday on {v}; {n} celebrates on {v}; {n} should be congratulated on {v}; {n} gives a party on {v}; {n} becomes a year older on {v} | When is {n}'s birthday?; When does {n} celebrate?; When should {n} be congratulated?; On what date does {n} give a party?; When does {n} become a year older?
        dog | first | {n} has a dog called {v}; {n} walks the dog {v}; {n} bought a dog and named it {v}; {n} calls the dog {v}; {n} is pulled along by a dog named {v} | What is the name of {n}'s dog?; Which dog does {n} walk?; What did {n} name the dog?; What does {n} call the dog?; By which dog is {n} pulled along?
        """,
    ),
    topic(
        "health",
        "user,patient,guest",
        "person",
        "she her,he his",
        """
        allergy | allergy | {n} is allergic to {v}; {n} must not touch {v}; {n} gets ill from {v}; {n} cannot stand {v}; {n} has a reaction to {v} | What is {n} allergic to?; What must {n} avoid?; From what does {n} get ill?; What can {n} not stand?; To what does {n} have a reaction?
        diet | diet | {n} eats only {v} dishes; {n} keeps to a {v} diet; {n} asked for {v} meals; {n} has gone {v}; {n} orders {v} food everywhere | What kind of dishes does {n} eat?; To which diet does {n} keep?; What meals did {n} ask for?; What has {n} gone?; What food does {n} order everywhere?
        doctor | person | {n} is treated by {v}; {n} goes to doctor {v}; {n} has {v} as doctor; {n} trusts the doctor {v}; {n} was referred to {v} | By whom is {n} treated?; To which doctor does {n} go?; Who is {n}'s doctor?; Which doctor does {n} trust?; To whom was {n} referred?
        medicine | code | {n} takes the medicine {v}; {n} needs {v} every day; {n} was prescribed {v}; {n} carries {v} in the bag; {n} depends on the drug {v} | Which medicine does {n} take?; What does {n} need every day?; What was {n} prescribed?; What does {n} carry in the bag?; On which drug does {n} depend?
        next appointment | date | {n} sees the dentist on {v}; {n} has an appointment on {v}; {n} is booked for {v}; {n} comes in on {v}; {n} is due at the practice on {v} | When does {n} see the dentist?; When is {n}'s appointment?; For when is {n} booked?; When does {n} come in?; On what date is {n} due at the practice?
        bedtime | time | {n} goes to bed at {v}; {n} sleeps from {v}; {n} wants no calls after {v}; {n} turns off the light at {v}; {n} is not to be woken after {v} | When does {n} go to bed?; From when does {n} sleep?; After what time does {n} want no calls?; When does {n} turn off the light?; After when is {n} not to be woken?
        """,
    ),
    topic(
        "plans",
        "user,customer,traveller",
        "person",
        "she her,he his",
        """
        destination | place | {n} wants to travel to {v}; {n} flies to {v}; {n} booked a trip to {v}; {n} dreams of a holiday in {v}; {n} sets off for {v} | Where does {n} want to travel?; Where does {n} fly?; To which place did {n} book a trip?; Of a holiday in which place does {n} dream?; For which place does {n} set off?
        departure | date | {n} leaves on {v}; {n} departs on {v}; {n} is away from {v}; {n} starts the journey on {v}; {n} takes off on {v} | When does {n} leave?; When does {n} depart?; From when is {n} away?; When does {n} start the journey?; On what date does {n} take off?
        means of travel | transport | {n} goes by {v}; {n} travels by {v}; {n} booked a {v}; {n} will take a {v}; {n} makes the journey by {v} | How does {n} go?; By what does {n} travel?; What did {n} book to get there?; What will {n} take to get there?; By which means does {n} make the journey?
        thing to learn | hobby | {n} wants to learn {v}; {n} signed up for a course in {v}; {n} is going to begin with {v}; {n} has decided to try {v}; {n} intends to study {v} | What does {n} want to learn?; For a course in what did {n} sign up?; With what is {n} going to begin?; What has {n} decided to try?; What does {n} intend to study?
        gift | gift | {n} wants to give away a {v}; {n} looks for a {v} as a present; {n} is going to buy a {v}; {n} has ordered a {v} as a surprise; {n} means to hand over a {v} | What does {n} want to give away?; What does {n} look for as a present?; What is {n} going to buy?; What has {n} ordered as a surprise?; What does {n} mean to hand over?
        travel companion | person | {n} travels with {v}; {n} takes {v} along; {n} meets {v} on the way; {n} is accompanied by {v}; {n} has {v} for company | With whom does {n} travel?; Whom does {n} take along?; Whom does {n} meet on the way?; By whom is {n} accompanied?; Whom does {n} have for company?
        """,
    ),
    topic(
        "meetings",
        "meeting,call,review,workshop",
        "session",
        "it its",
        """
        decision | decision | {n} decided to {v}; {n} ended with the decision to {v}; {n} agreed to {v}; {n} resolved to {v}; {n} came out in favour of the plan to {v} | What did {n} decide to do?; With which decision did {n} end?; What did {n} agree to do?; What did {n} resolve to do?; In favour of which plan did {n} come out?
        owner | person | {n} made {v} responsible; {n} gave the task to {v}; {n} left the rest to {v}; {n} put {v} in charge; {n} handed the work over to {v} | Whom did {n} make responsible?; To whom did {n} give the task?; To whom did {n} leave the rest?; Whom did {n} put in charge?; To whom did {n} hand the work over?
        deadline | date | {n} set {v} as the deadline; {n} wants results by {v}; {n} gave us time until {v}; {n} fixed the end for {v}; {n} demanded that all be done by {v} | What deadline did {n} set?; By when does {n} want results?; Until when did {n} give us time?; For when did {n} fix the end?; By what date did {n} demand that all be done?
        budget | price | {n} approved {v}; {n} granted a budget of {v}; {n} allowed {v} to be spent; {n} set aside {v}; {n} released a sum of {v} | How much did {n} approve?; What budget did {n} grant?; How much did {n} allow to be spent?; How much did {n} set aside?; What sum did {n} release?
        next session | time | {n} goes on at {v}; {n} will meet again at {v}; {n} continues at {v}; {n} resumes at {v}; {n} is taken up again at {v} | When does {n} go on?; At what time will {n} meet again?; When does {n} continue?; When does {n} resume?; At what time is {n} taken up again?
        absent | person | {n} took place without {v}; {n} missed {v}; {n} noted the absence of {v}; {n} had to do without {v}; {n} excused {v} | Without whom did {n} take place?; Whom did {n} miss?; Whose absence did {n} note?; Without whom did {n} have to do?; Whom did {n} excuse?
        status | status | {n} marked the project as {v}; {n} left the matter {v}; {n} sees the work as {v}; {n} declared the issue {v}; {n} recorded the state as {v} | As what did {n} mark the project?; How did {n} leave the matter?; As what does {n} see the work?; What did {n} declare the issue?; Which state did {n} record?
        """,
    ),
    topic(
        "attempts",
        "task,ticket,bug,job",
        "task",
        "it its",
        """
        failed attempt | action | {n} was not solved by {v}; {n} still failed after {v}; {n} did not get better from {v}; {n} resisted {v}; {n} stayed broken despite {v} | What did not solve {n}?; After what did {n} still fail?; What did not make {n} better?; What did {n} resist?; Despite what did {n} stay broken?
        solution | action | {n} was solved by {v}; {n} works since {v}; {n} went through after {v}; {n} was fixed by {v}; {n} came right through {v} | What solved {n}?; Since what does {n} work?; After what did {n} go through?; What fixed {n}?; Through what did {n} come right?
        error | error | {n} stopped with {v}; {n} fails with {v}; {n} reports {v}; {n} broke off with {v}; {n} ended in {v} | With what did {n} stop?; With which error does {n} fail?; What does {n} report?; With what did {n} break off?; In which error did {n} end?
        version | version | {n} needs version {v}; {n} runs with version {v}; {n} broke in version {v}; {n} is pinned to version {v}; {n} requires release {v} | Which version does {n} need?; With which version does {n} run?; In which version did {n} break?; To which version is {n} pinned?; Which release does {n} require?
        responsible person | person | {n} is assigned to {v}; {n} is looked into by {v}; {n} was taken over by {v}; {n} sits with {v}; {n} landed on the desk of {v} | To whom is {n} assigned?; Who looks into {n}?; Who took over {n}?; With whom does {n} sit?; On whose desk did {n} land?
        place in the code | file | {n} has its cause in {v}; {n} comes from the file {v}; {n} is about {v}; {n} was traced to {v}; {n} originates in {v} | In which file does {n} have its cause?; From which file does {n} come?; Which file is {n} about?; To what was {n} traced?; Where does {n} originate?
        next step | action | {n} will be tried again with {v}; {n} calls for {v} next; {n} waits for {v}; {n} should continue with {v}; {n} leaves {v} as the next step | With what will {n} be tried again?; What does {n} call for next?; For what does {n} wait?; With what should {n} continue?; What does {n} leave as the next step?
        """,
    ),
)
