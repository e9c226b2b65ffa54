"""Sentences that describe music, and others of comments and descriptions."""

MUSIC = """\
Hip-hop features rap with an electronic backing.
The melody is so nostalgic and unforgettable.
A slow piano ballad with soft strings in the background.
The bass line is groovy and drives the whole track.
Female vocals float over dreamy synth pads.
An upbeat dance tune with a four-on-the-floor kick.
The guitar solo is full of distortion and energy.
Gentle acoustic guitar picking in a folk style.
This is a fast techno track with hypnotic percussion.
A choir sings in harmony over an organ.
The drums are tight and the horns are bright.
Mellow jazz with brushed drums and an upright bass.
A melancholic violin melody over sparse piano chords.
The tempo is moderate, with a reggae feel.
Heavy metal riffs with screaming vocals and double bass drums.
A solo flute plays an airy, meditative theme.
The chorus lifts with layered backing vocals.
Warm analog synthesizers and a slow electronic beat.
A cheerful ukulele tune with handclaps and whistling.
The song builds slowly from a whisper to a roaring climax.
Traditional Irish fiddle music with a lively rhythm.
The singer's husky voice fits the bluesy guitar.
Ambient drones with subtle field recordings of rain.
A funky clavinet and a punchy horn section.
The orchestra swells with dramatic brass and timpani.
Lo-fi beats with vinyl crackle and a jazzy piano sample.
The rap verse flows smoothly over a trap beat.
Bossa nova guitar with soft percussion and a breathy voice.
A minor key gives this waltz a haunting mood.
The sitar drones beneath an intricate tabla rhythm.
Distorted synth bass and a dark industrial groove.
A playful tune for children with glockenspiel and bells.
The harmonies are lush and the arrangement is sparse.
A country song with pedal steel guitar and banjo.
The breakbeat is chopped and the bass wobbles.
A string quartet performs a lyrical slow movement.
The piano improvisation is fluid and full of chromatic runs.
Punk rock with a raw sound and shouted vocals.
The harp plays arpeggios while a cello carries the melody.
A salsa rhythm with congas, trumpets and a lively montuno.
The track is instrumental, calm and suited for meditation.
A gospel choir claps along to a soulful organ.
The beat drops and the synth lead becomes euphoric.
The accordion gives the tune a Parisian cafe atmosphere.
Soft male vocals are doubled an octave higher.
The rhythm section locks into a laid-back swing.
An epic film score with choir and pounding percussion.
The intro is a lonely trumpet with lots of reverb.
A marching band plays a bright and festive theme.
The percussion is polyrhythmic and inspired by West Africa.
A quiet lullaby on a music box.
The saxophone wails over a slow blues progression.
Minimalist piano patterns repeat and shift in phase.
The vocals are autotuned over a bouncy pop beat.
A baroque harpsichord piece with rapid ornaments.
The track has a psychedelic organ and fuzzy guitars.
A cappella voices imitate drums and bass.
The snare is crisp and the hi-hats roll in triplets.
A tango with a passionate bandoneon and staccato strings.
The electronic pulses are cold, sparse and mechanical.
A tender duet between a tenor and a soprano.
The slide guitar has a gritty delta blues tone.
An energetic drum and bass track with a rolling bassline.
The melody is played on a kalimba over soft pads.
A dreamy shoegaze wall of guitars with buried vocals.
The tune has an odd meter and a jazzy feel.
Slow strings and a mournful oboe evoke sadness.
The disco beat comes with funky guitar and strings.
A marimba ostinato supports a syncopated flute line.
The vocal melody is catchy and rises in the chorus.
A dark trap instrumental with eerie bells.
The fingerpicked guitar and soft voice sound intimate.
A grand romantic piano concerto with sweeping melodies.
The synth arpeggio is bright, and the kick is heavy.
A mellow soul track with warm electric piano.
The banjo rolls quickly over a bluegrass rhythm.
The flamenco guitar is fast, with clapping and footwork.
Throat singing and a drone create a hypnotic texture.
The ska rhythm has offbeat guitar and lively brass.
A calm harp melody with birdsong in the background.
""".splitlines()

CHATTER = """\
Who is watching this in 2024?
First comment, let's go!
I can't believe this has only two thousand views.
My dog fell asleep on the couch again.
Thanks for the video, see you next week.
Does anybody know where she bought that jacket?
The camera work in this clip is terrible.
He looks so young here, time flies.
My grandmother showed me this channel yesterday.
I came here from the movie.
The ads are getting longer every day.
What is the name of the actress at the end?
Please upload the next episode soon.
This made me cry at work.
Congratulations on one million followers!
My exam is tomorrow and I have not studied.
You are the best, greetings from Chile.
I was born in the year when this was released.
The link does not work for me.
He deserves so much more attention.
We met him at the airport last summer.
Why did they delete the old version?
I miss my ex so much right now.
The dress she wears is beautiful.
Rest in peace, legend.
My brother broke his phone while filming this.
Can you do a tutorial about the makeup?
This came up in my recommendations today.
The comments here are hilarious.
I have been a fan since the beginning.
When does the ticket sale start?
The guy in the red shirt is my cousin.
She got married last month in Italy.
Nobody asked for your opinion.
I ordered pizza and forgot about it.
The stadium was full that night.
Happy birthday to the best mum in the world.
The subtitles are wrong at the end.
I love you all, have a great day.
It is three in the morning and I am still here.
He won the award two years in a row.
The teacher made us watch this in class.
Where can I find the full interview?
My internet is too slow for this.
Everyone in my town knows him.
They filmed this in the desert near our house.
I wish I could go back to my childhood.
She is from the same city as my father.
That haircut was a mistake.
Let's get this to a million likes.
He should run for president.
The delivery took more than three weeks.
My cat loves to sit on the keyboard.
I just quit my job and feel free.
The game was released for consoles last year.
This is the reason why I have trust issues.
You forgot to mention the sponsor.
The weather is awful here today.
We visited the museum with the whole family.
What happened to his hair?
The plot of the film makes no sense.
I am learning Spanish because of this actor.
Our school trip was cancelled.
Who else is here before it goes viral?
She answered my letter, I am so happy.
The car in the second scene is a classic.
My parents do not understand why I am smiling.
You can buy the poster at the exit.
The interview was recorded in London.
Nothing better than coffee on a Sunday.
He never forgot where he came from.
The book is better than the series.
I lost my keys on the way home.
Good luck to everyone who has an exam.
This channel deserves more followers.
They live in a small house near the lake.
The director answered questions from the audience.
Is it just me, or did the price go up?
My little sister drew a picture of him.
I will be back in ten years to read this again.
""".splitlines()
